"""The HTTP service and the command line. It never imports torch."""
