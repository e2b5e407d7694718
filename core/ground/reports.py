"""Types of the JSON that a run of the trainer writes into the files of its folder (``core.ground.folders.RunFolder``).

The trainer writes them, the worker reads them and stores them in the job's row, and the API and the client return them. A key
that is ``NotRequired`` is newer than others: files and rows of earlier versions lack it.
"""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, cast


class Started(TypedDict):
    """The first event of each attempt. ``config`` is the resolved configuration, ``data`` says how the images are held, and
    ``resumed_at`` is the ``Position`` of the checkpoint, if there was one."""

    type: Literal["started"]
    images: int
    config: dict[str, Any]
    data: str
    resumed_at: dict[str, int] | None


class Speed(TypedDict):
    images_per_second: float
    data_wait: NotRequired[float]  # share of the time spent waiting for loader processes


class Epoch(Speed):
    """``epochs`` are those of the round; ``anchors`` is the share of the images that are anchors."""

    type: Literal["epoch"]
    round: int
    rounds: int
    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    anchors: float


class LabelFree(TypedDict):
    """Figures of an embedding that need no labels (``trainer/evaluation/diagnostics.py``)."""

    mean_entropy: float | None
    neighbour_agreement: float | None
    effective_rank: float | None
    alignment: float | None
    uniformity: float | None


class Round(LabelFree):
    """Written at the end of a round."""

    type: Literal["round"]
    round: int
    rounds: int
    entropy_histogram: NotRequired[list[int]]


class Warned(TypedDict):
    type: Literal["warning"]
    round: int
    message: str


class Passed(TypedDict):
    """Export begins, or the run is over; the worker itself adds ``evaluating``."""

    type: Literal["exporting", "finished", "evaluating"]


Past = Epoch | Round | Warned  # what checkpoints keep
Event = Started | Past | Passed

RunStep = Literal["starting", "decoding", "epochs", "encoding", "mapping", "writing"]
EvaluationStep = Literal["loading", "rounds", "last", "untrained", "frozen", "pixels"]
PublishingStep = Literal["indexing", "publishing"]  # of the worker's own
Step = Literal[RunStep, EvaluationStep, PublishingStep]  # in the order in which a job takes them
Phase = Literal["preparing", "training", "exporting", "evaluating", "indexing", "publishing"]


class Plan(TypedDict):
    """Everything that the duration of a run depends on. ``epochs`` are those of all rounds together, once for each
    view of an image, ``side`` is the images' median side in pixels."""

    backbone: str
    image_size: int
    crop_size: int
    dim: int
    rounds: int
    as_loaded: bool
    images: int
    side: int
    epochs: int


class ProgressLine(TypedDict):
    """``done`` of a step, 0 to 1; ``at`` is the machine's monotonic clock; ``plan`` is in the first line of a run."""

    step: Step
    done: float
    at: float
    plan: NotRequired[Plan]


class EpochProgress(TypedDict, total=False):
    """Values of the last epoch; left out before there was one."""

    round: int
    rounds: int
    epoch: int
    epochs: int
    loss: float
    images_per_second: float
    anchors: float


class JobProgress(EpochProgress):
    """The progress of a training job, as its row holds it. Fractions are 0 to 1; ``eta_seconds`` counts from ``told_at``, the
    time at which it was stored."""

    phase: Phase
    phase_fraction: float
    fraction: float
    eta_seconds: float | None
    told_at: NotRequired[str]


class FewLabel(TypedDict):
    """Accuracy with ``labels`` labels a class: the mean over draws, and the two values between which 95 % of the draws lie."""

    labels: int
    mean: float
    low: float
    high: float


class Votes(TypedDict):
    few_label: NotRequired[list[FewLabel]]
    knn_accuracy: float


class Retrieval(TypedDict):
    mean_average_precision: float | None
    recall_at_1: float | None
    recall_at_5: float | None
    recall_at_10: float | None
    ranked_queries: int


class VotesAndRetrieval(Votes, Retrieval):
    """The figures that decide whether the start of a run or its end is published."""


class Figures(VotesAndRetrieval):
    """All figures of one embedding."""

    linear_embedding: float | None
    linear_last_block: float | None


class Change(TypedDict):
    """What training did to what it started from (``trainer/evaluation/choice.py``)."""

    kept_neighbours: float
    mutual_before: float
    mutual_after: float
    effective_rank_before: float
    effective_rank_after: float


class RoundJudged(LabelFree):
    round: int
    few_label: NotRequired[list[FewLabel]]
    knn_accuracy: float | None
    anchors: float
    consistency: float | None
    consistency_by_decile: NotRequired[list[float | None]]


class Evaluation(TypedDict):
    """What ``trainer.evaluation.evaluate`` finds, whose docstring explains each."""

    k: int | None
    held_out: bool
    queries: int
    classes: int
    knn_accuracy: float | None
    untrained_accuracy: float | None
    raw_pixel_accuracy: float | None
    anchors: float
    consistency: float | None
    rounds: list[RoundJudged]
    warnings: list[str]
    overlap: NotRequired[int]
    unseen_classes: NotRequired[bool]
    init: NotRequired[Literal["random", "imagenet", "weights"]]
    published_round: NotRequired[int]
    chosen_by: NotRequired[Literal["labels", "neighbours"] | None]
    change: NotRequired[Change | None]
    as_it_was: NotRequired[bool]
    method: NotRequired[str]
    frozen_accuracy: NotRequired[float | None]
    trained: NotRequired[Figures | None]
    adapted: NotRequired[Figures | None]
    frozen: NotRequired[Figures | None]
    untrained: NotRequired[Figures | None]
    raw_pixels: NotRequired[Figures | None]


def evaluation_of(stored: Mapping[str, Any] | None) -> Evaluation | None:
    """The evaluation that a file or a row holds as JSON, of this version or an earlier one."""
    return cast("Evaluation | None", stored or None)
