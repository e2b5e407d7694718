"""The commands of ``anchorhood`` that speak to a service, by the client and its HTTP API alone.
They parse and print; those of a server's own machine lie in ``service/commands`` and are only named here."""
