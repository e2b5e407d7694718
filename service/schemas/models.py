"""Bodies of models."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.common import FromRow, PageBody, Text


class ModelRow(FromRow):
    id: str
    dataset_id: str
    job_id: str
    images: int
    dim: int
    created_at: datetime


class ModelBody(ModelRow):
    manifest: dict[str, Any]


class ModelPage(PageBody[ModelRow]):
    pass


class MapBody(BaseModel):
    """A model's images as columns in the order of their ids; images that were added since are not among them."""

    model_id: str
    dataset_id: str
    ids: list[int]
    x: list[float] = Field(description="Where each lies on the map: t-SNE of the embeddings, of very many their main axes.")
    y: list[float]
    names: list[str] = Field(description="The labels there are.")
    labels: list[int] = Field(description="Indices of names; -1: no label.")
    entropy: list[list[float | None]] = Field(description="One list for each round, nats; null for what was not trained on.")
    anchor_round: list[int] = Field(description="The round in which it became an anchor; 0: it never did.")


class CurrentModel(BaseModel):
    """The model to answer from."""

    model_config = ConfigDict(extra="forbid")

    model_id: Text = Field(examples=["mdl_7c1f0a9e8b6d5432"])
