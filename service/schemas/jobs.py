"""Requests that make jobs."""

from pydantic import BaseModel, ConfigDict, Field

from core.ground.parameters import MOST_ROUNDS
from core.search.votes import MIN_LABELS
from service.schemas.common import Metadata, Text
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


class Continue(BaseModel):
    """How to go on from a job's checkpoints."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"add_rounds": 2}]})

    add_rounds: int | None = Field(
        None,
        ge=1,
        le=MOST_ROUNDS,
        description="More rounds for a job that succeeded; without it one that failed or was cancelled is resumed.",
    )


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
