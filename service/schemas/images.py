"""Bodies of images."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from core.store.tables import Image
from service.schemas.common import MAX_ID, PageBody


class Provenance(BaseModel):
    """How the dataset's current model learned this image."""

    entropy: list[float] = Field(description="Entropy against the memory bank at the end of each round.")
    anchor_round: int | None = Field(description="The round in which it became an anchor.")
    neighbours: list[int] = Field(description="Images it was last trained towards.")


class ImageBody(BaseModel):
    id: int
    dataset_id: str
    path: str
    label: str | None
    width: int
    height: int
    media_type: str = Field(description="Of the file.", examples=["image/jpeg"])
    provenance: Provenance | None

    @classmethod
    def of(cls, row: Image, label: str | None, provenance: Mapping[str, object] | None = None) -> Self:
        """A row as the API shows it, with its label and how the current model learned it."""
        columns = {name: getattr(row, name) for name in ("id", "dataset_id", "path", "width", "height", "media_type")}
        return cls.model_validate({**columns, "label": label, "provenance": provenance})


class ImagePage(PageBody[ImageBody]):
    pass


class Deletions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image_ids: list[Annotated[int, Field(ge=0, le=MAX_ID)]] = Field(min_length=1, max_length=10_000, fail_fast=True)


class DeletedBody(BaseModel):
    deleted: int
