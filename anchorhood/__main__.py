"""``python -m anchorhood``: the command line."""

from anchorhood.commands.main import main

if __name__ == "__main__":
    main()
