"""The commands of ``anchorhood`` for the machine on which a server runs; ``anchorhood/commands`` lists them.
They parse and print; what they do lies in ``service/operations``."""
