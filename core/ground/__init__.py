"""What everything stands on, the trainer included: pictures and their formats, names, processes, logs, parameters, verdicts.
Needs no database, no settings and no torch; it may import nothing of ours outside this folder."""
