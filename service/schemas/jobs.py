"""Bodies of jobs."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.ground.parameters import MOST_ROUNDS
from core.search.votes import MIN_LABELS
from core.store.kinds import JobKind
from service.schemas.common import Error, Metadata, Page, Text
from service.schemas.parameters import Params


class JobRequest(BaseModel):
    """Train on a dataset, and judge the result on another one that is labelled."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"dataset_id": "ds_3f9c0e2b7a61d845", "params": {"preset": "quick"}}]},
    )

    dataset_id: Text
    evaluation_dataset_id: Text | None = None
    params: Params = Params()
    name: Text | None = Field(None, max_length=200)
    metadata: Metadata = {}


class ParamsCheck(BaseModel):
    """Training parameters to look at."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"params": {"preset": "quick"}}]})

    params: Params = Params()


class CheckedParams(BaseModel):
    """Training parameters as they are understood."""

    params: Params
    pretrained_missing: str | None = Field(
        None, description="How to install the weights of `init: imagenet`, where they are not; else it is left out."
    )


class Progress(BaseModel):
    """Of a training job these, those of an epoch once it is known; of a validation the counts so far."""

    model_config = ConfigDict(extra="allow")

    phase: Literal["preparing", "training", "exporting", "evaluating", "indexing", "publishing"] | None = None
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


class Continue(BaseModel):
    """How to go on from a job's checkpoints."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"add_rounds": 2}]})

    add_rounds: int | None = Field(
        None,
        ge=1,
        le=MOST_ROUNDS,
        description="More rounds for a job that succeeded; without it one that failed or was cancelled is resumed.",
    )


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


class EventBody(BaseModel):
    seq: int
    type: str = Field(examples=["queued", "running", "started", "epoch", "round", "evaluating", "succeeded"])
    data: dict[str, Any]
    created_at: datetime


class JobPage(Page):
    data: list[JobBody]


class MetricBody(BaseModel):
    round: int
    epoch: int
    loss: float
    learning_rate: float
    images_per_second: float
    anchors: float


class MetricsBody(BaseModel):
    data: list[MetricBody]


class EventPage(Page):
    data: list[EventBody]


class ClassifyAll(BaseModel):
    """How to classify every image of a dataset."""

    model_config = ConfigDict(extra="forbid")

    model_id: Text | None = Field(None, description="Default: the current model.")
    k: int | None = Field(None, ge=1, le=1000, description="Number of voters; by default chosen as by leave-one-out.")
    temperature: float = Field(0.1, ge=0.001, le=10)
    min_confidence: float = Field(0.0, ge=0, le=1, description="Below it an image stays unknown.")
    min_labels: int = Field(
        MIN_LABELS, ge=1, le=100, description="Labels that each of two classes must have, or all stay unknown."
    )
