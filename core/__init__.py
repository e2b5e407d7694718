"""The shared domain: settings, database, jobs, datasets, models and search. No HTTP, no torch, no Celery task bodies."""
