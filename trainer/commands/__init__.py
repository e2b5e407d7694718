"""The commands of ``python -m trainer``.
They read arguments and files; libraries take values."""
