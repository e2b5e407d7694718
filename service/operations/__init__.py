"""What an operator runs: the embedded system, its broker, backups, the doctor, the demonstration.
No HTTP route imports from here."""
