"""Bodies of jobs, their events and figures; ``jobs`` has those of the requests."""

from datetime import datetime, timedelta
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from core.collections.continuation import ContinuationKind
from core.ground.reports import Phase, evaluation_of
from core.ground.verdict import verdict
from core.store.kinds import JobKind, JobStatus
from core.store.tables import Job
from service.schemas.common import Error, FromRow, PageBody


class Progress(BaseModel):
    """Of a training job these, those of an epoch once it is known; of a validation the counts so far."""

    model_config = ConfigDict(extra="allow")

    phase: Phase | None = None
    phase_fraction: float | None = Field(None, description="Of the phase, 0 to 1.")
    fraction: float | None = Field(None, description="Of the whole job, 0 to 1; it never falls.")
    round: int | None = None
    rounds: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    images_per_second: float | None = None
    anchors: float | None = Field(None, description="Fraction of the images that are anchors.")
    eta_seconds: float | None = Field(None, description="Until the end of the whole job; null while it cannot be known.")


class VerdictBody(BaseModel):
    """The evaluation in a sentence; without evidence the comparisons are null."""

    sentence: str = Field(
        examples=[
            "with 5 labels a class 38.3 %, the pretrained encoder as it is 61.2 %, an untrained encoder 39.6 %, raw pixels 56.5 %"
            ": worse than the pretrained encoder as it is and raw pixels; start from pretrained weights"
        ]
    )
    better_than_frozen: bool | None = Field(description="Than the pretrained encoder as it is, where that is installed.")
    better_than_untrained: bool | None
    better_than_raw_pixels: bool | None


class JobBody(BaseModel):
    id: str = Field(examples=["job_0b54c3d2e1f0a987"])
    kind: JobKind
    dataset_id: str
    evaluation_dataset_id: str | None
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    name: str | None
    params: dict[str, Any]
    progress: Progress | None
    evaluation: dict[str, Any] | None
    verdict: VerdictBody | None
    attempt: int
    error: Error | None
    model_id: str | None
    continues: str | None = Field(description="The job from whose checkpoints this one went on.")
    continuation: Literal["resume", "more_rounds"] | None = Field(
        description="How `POST /jobs/{job_id}/continue` can go on from its checkpoints now, if it can."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    estimated_finish: datetime | None = Field(description="When `progress` was told, and its `eta_seconds`.")
    metadata: dict[str, Any]

    @classmethod
    def of(cls, row: Job, continuation: ContinuationKind | None = None) -> Self:
        """A row as the API shows it; ``continuation`` is how it can be continued."""
        made = ("metadata", "estimated_finish", "verdict", "continuation")
        columns = {name: getattr(row, name) for name in cls.model_fields if name not in made}
        judgement = verdict(evaluation_of(row.evaluation)) if row.kind == JobKind.TRAIN else None
        return cls.model_validate(
            {
                **columns,
                "metadata": row.job_metadata,
                "estimated_finish": _finish(row),
                "verdict": vars(judgement) if judgement else None,
                "continuation": continuation,
            }
        )


def _finish(row: Job) -> datetime | None:
    progress = row.progress or {}
    if row.status != JobStatus.RUNNING or progress.get("eta_seconds") is None:
        return None
    return datetime.fromisoformat(progress["told_at"]) + timedelta(seconds=progress["eta_seconds"])


class EventBody(FromRow):
    seq: int
    type: str = Field(examples=["queued", "running", "started", "epoch", "round", "published", "evaluating", "succeeded"])
    data: dict[str, Any]
    created_at: datetime


class JobPage(PageBody[JobBody]):
    pass


class MetricBody(FromRow):
    round: int
    epoch: int
    loss: float
    learning_rate: float
    images_per_second: float
    anchors: float


class MetricsBody(BaseModel):
    data: list[MetricBody]


class EventPage(PageBody[EventBody]):
    pass
