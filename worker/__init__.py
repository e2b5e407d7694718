"""Celery workers: claim a job, supervise the training process, record progress, publish. No torch in this process."""
