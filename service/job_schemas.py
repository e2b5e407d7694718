"""Bodies of jobs. Training parameters have the trainer's names and bounds (a test compares them)."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, model_validator

from core.models import JobKind
from core.votes import MIN_LABELS
from service.schemas import Error, Page, Text


def _finite(value: dict[str, Any]) -> dict[str, Any]:
    """JSON that every database can hold; ``uploads.parse_json`` has seen to its texts."""
    json.dumps(value, allow_nan=False)
    return value


Preset = Literal["paper", "released", "quick"]
Metadata = Annotated[dict[str, Any], AfterValidator(_finite)]


class Params(BaseModel):
    """Training parameters; what is left out comes from the preset. ``docs/presets.md`` explains each."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"preset": "quick", "seed": 0}]})

    preset: Preset | None = Field(None, description="Default: paper with a GPU, quick without.")
    method: Literal["and", "instance", "random_anchors", "all_anchors"] | None = None
    backbone: Literal["resnet10", "resnet18", "resnet34", "resnet50"] | None = None
    image_size: int | None = Field(None, ge=8, le=512, description="Side in pixels; default: chosen from the data.")
    dim: int | None = Field(None, ge=2, le=2048)
    rounds: int | None = Field(None, ge=1, le=20)
    epochs_first: int | None = Field(None, ge=1, le=10_000)
    epochs: int | None = Field(None, ge=1, le=10_000)
    select_rate: float | None = Field(None, ge=0, le=1)
    neighbours: int | None = Field(None, ge=1, le=100)
    discovery_features: Literal["bank", "encoder"] | None = None
    temperature: float | None = Field(None, ge=0.01, le=10)
    memory_momentum: float | None = Field(None, ge=0, le=0.999)
    batch_size: int | None = Field(None, ge=4, le=8192)
    learning_rate: float | None = Field(None, ge=1e-6, le=10)
    learning_rate_next: float | None = Field(None, ge=1e-6, le=10)
    schedule: Literal["step", "step-late", "cosine"] | None = None
    weight_decay: float | None = Field(None, ge=0, le=1)
    crop_scale: tuple[Annotated[float, Field(ge=0.01, le=1)], Annotated[float, Field(ge=0.01, le=1)]] | None = None
    colour_jitter: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=4, max_length=4)] | None = None
    greyscale: float | None = Field(None, ge=0, le=1)
    flip: StrictBool | None = None
    seed: int | None = Field(None, ge=0, le=2**31 - 1)
    precision: Literal["auto", "float32", "bfloat16"] | None = None
    device: str | None = Field(None, pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    init: str | None = Field(
        None, pattern=r"^(random|imagenet|mdl_[0-9a-f]+)$", description="random, imagenet, or a model's id to start from."
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """What the trainer would refuse only when the job is running."""
        if self.crop_scale and self.crop_scale[0] > self.crop_scale[1]:
            raise ValueError(f"crop_scale: {self.crop_scale[0]} is larger than {self.crop_scale[1]}")
        backbone = self.backbone or ("resnet10" if self.preset == "quick" else None)
        if self.init == "imagenet" and backbone == "resnet10":
            raise ValueError("init: there are no ImageNet weights for resnet10 (the backbone of quick), only for larger ones")
        return self


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
            "38.3 %, an untrained encoder 39.6 %, raw pixels 56.5 %: worse than raw pixels;"
            " train longer or start from pretrained weights"
        ]
    )
    better_than_untrained: bool | None
    better_than_raw_pixels: bool | None


class Continue(BaseModel):
    """How to go on from a job's checkpoints."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"add_rounds": 2}]})

    add_rounds: int | None = Field(
        None,
        ge=1,
        le=20,
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
