"""The values of columns that hold a kind or a state."""

from enum import StrEnum


class DatasetStatus(StrEnum):
    """``validating`` until every file was looked at, then ``ready``, or ``failed`` with an error."""

    VALIDATING = "validating"
    READY = "ready"
    FAILED = "failed"


class JobStatus(StrEnum):
    """``queued -> running -> succeeded | failed | cancelled``, and back to ``queued`` when a worker was lost."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class JobKind(StrEnum):
    """What a job does: validate an upload, train on a dataset, embed images that were added to it since, classify the whole
    of it, take the deleted images out of its files, or see where the encoders of a model's rounds look."""

    INGEST = "ingest"
    TRAIN = "train"
    EMBED = "embed"
    CLASSIFY = "classify"
    COMPACT = "compact"
    ATTENTION = "attention"


class Queue(StrEnum):
    """``training`` runs jobs that need torch, one at a time on a device; ``tasks`` runs everything else."""

    TRAINING = "training"
    TASKS = "tasks"


UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING)
