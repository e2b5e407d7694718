"""Bodies of jobs. Training parameters have the trainer's names and bounds (a test compares them)."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from core.ground.pretrained import WITH_IMAGENET
from core.search.votes import MIN_LABELS
from core.store.kinds import JobKind
from service.schemas.common import Error, Metadata, Page, Text

Preset = Literal["paper", "released", "quick", "best"]


class Params(BaseModel):
    """Training parameters; what is left out comes from the preset. ``docs/presets.md`` explains each."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"preset": "quick", "seed": 0}]})

    preset: Preset | None = Field(None, description="Default: quick without a GPU; with one paper, or best with init.")
    method: Literal["and", "instance", "random_anchors", "all_anchors", "frozen"] | None = Field(
        None, description="frozen trains nothing: the images are made searchable by the weights of init as they are."
    )
    backbone: Literal["resnet10", "resnet18", "resnet34", "resnet50", "efficientnet_lite0"] | None = None
    image_size: int | None = Field(None, ge=8, le=512, description="Side in pixels; default: chosen from the data.")
    crop_size: int | None = Field(
        None, ge=8, le=512, description="Side of the random crops it learns from, in pixels; default: chosen from image_size."
    )
    dim: int | None = Field(None, ge=2, le=2048)
    rounds: int | None = Field(None, ge=1, le=20)
    epochs_first: int | None = Field(None, ge=0, le=10_000, description="0 needs init.")
    epochs: int | None = Field(None, ge=1, le=10_000)
    select_rate: float | None = Field(None, ge=0, le=1)
    neighbours: int | None = Field(None, ge=1, le=100)
    neighbour_loss: Literal["union", "mean"] | None = None
    discovery_features: Literal["bank", "encoder"] | None = None
    temperature: float | None = Field(None, ge=0.01, le=10)
    temperature_next: float | None = Field(
        None, ge=0.01, le=10, description="Of the loss of rounds after the first; default: the preset's, or that of the first."
    )
    memory_momentum: float | None = Field(None, ge=0, le=0.999)
    batch_size: int | None = Field(None, ge=4, le=8192)
    learning_rate: float | None = Field(None, ge=1e-6, le=10)
    learning_rate_next: float | None = Field(None, ge=1e-6, le=10)
    backbone_rate: float | None = Field(
        None, ge=1e-6, le=1, description="Of all but the head, as a multiple of the learning rate."
    )
    trained_blocks: int | None = Field(
        None, ge=0, le=100, description="Of the backbone, counted from its end; the others stay as they began. 0: the head alone."
    )
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
        None,
        pattern=r"^(random|imagenet|mdl_[0-9a-f]+)$",
        description="What to start from: random (nothing, the default), imagenet (what photographs taught), or a model's id.",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """What the trainer would refuse only when the job is running."""
        if self.crop_scale and self.crop_scale[0] > self.crop_scale[1]:
            raise ValueError(f"crop_scale: {self.crop_scale[0]} is larger than {self.crop_scale[1]}")
        if self.init == "imagenet" and self.backbone not in (None, *WITH_IMAGENET):
            raise ValueError(f"init: there are no ImageNet weights for {self.backbone}, only for {', '.join(WITH_IMAGENET)}")
        starts = self.init not in (None, "random")
        if self.method == "frozen" and not starts:
            raise ValueError("method: frozen takes what is learned already as it is; set init to imagenet or to a model's id")
        if self.method == "frozen" and (self.rounds not in (None, 1) or self.epochs_first not in (None, 0)):
            raise ValueError("method: frozen trains nothing, so rounds is 1 and epochs_first 0; leave them out")
        if self.epochs_first == 0 and not starts:
            raise ValueError(
                "epochs_first: 0 trains nothing in the first round, so it needs something to start from; set init, or 1 or more"
            )
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
