"""The commands of ``anchorhood``.
They parse and print; what they do lies in the client and in ``service/operations``."""
