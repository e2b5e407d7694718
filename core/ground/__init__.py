"""Modules that the trainer, too, may use: pictures, file names, processes, logs, parameters, verdicts.
They need no database, no settings and no torch, and import nothing of the project outside this folder."""
