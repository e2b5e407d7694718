"""Bodies of datasets, images and models, and what all bodies share."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # what every database can hold; a pattern also refuses lone surrogates
MAX_ID = 2**63 - 1  # what a database's integers hold


def _finite(value: dict[str, Any]) -> dict[str, Any]:
    """JSON that every database can hold; ``uploads.parse_json`` has seen to its texts."""
    json.dumps(value, allow_nan=False)
    return value


Metadata = Annotated[dict[str, Any], AfterValidator(_finite)]
DatasetName = Annotated[str, Field(pattern=r"^[^\x00]*\S[^\x00]*$", max_length=200)]


class Error(BaseModel):
    code: str
    message: str


class SessionRequest(BaseModel):
    key: str = Field(examples=["ah_0123456789ab_…"], max_length=200)


class SessionBody(BaseModel):
    required: bool = Field(description="Whether this service asks for a key.")
    scope: Literal["read", "write", "admin"] | None = Field(description="What may be done; null: nothing without a key.")


class Notice(BaseModel):
    code: str = Field(examples=["first_page_only", "first_frame_only", "hidden_files"])
    message: str
    count: int


class DatasetBody(BaseModel):
    id: str = Field(examples=["ds_3f9c0e2b7a61d845"])
    name: str
    status: Literal["validating", "ready", "failed"]
    images: int = Field(description="Distinct images.")
    rejected: int = Field(description="Files that cannot be used; see /rejections.")
    duplicates: int = Field(description="Files with the content of another.")
    classes: int
    bytes: int = Field(description="Size of the upload while it is validated, then of its images.")
    model_id: str | None = Field(description="The current model.")
    created_at: datetime
    error: Error | None
    notices: list[Notice] = Field(description="What the validation did that a person should know though nothing was refused.")
    metadata: dict[str, Any] = Field(description="What a client noted of it.")


class DatasetChange(BaseModel):
    """What is left out or null stays; ``metadata`` is replaced as a whole."""

    model_config = ConfigDict(extra="forbid")

    name: DatasetName | None = None
    metadata: Metadata | None = None


class RejectionBody(BaseModel):
    job_id: str | None = Field(description="The job that looked at it, which may have failed.")
    path: str
    code: str = Field(examples=["not_an_image", "truncated", "too_many_pixels", "unsafe_path", "duplicate"])
    reason: str


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


class Page(BaseModel):
    """``next`` is the value of ``after`` for the following page, null on the last one."""

    next: str | None


class DatasetPage(Page):
    data: list[DatasetBody]


class RejectionPage(Page):
    data: list[RejectionBody]


class ImagePage(Page):
    data: list[ImageBody]


class ModelRow(BaseModel):
    id: str
    dataset_id: str
    job_id: str
    images: int
    dim: int
    created_at: datetime


class ModelBody(ModelRow):
    manifest: dict[str, Any]


class ModelPage(Page):
    data: list[ModelRow]


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


class LabelsBody(BaseModel):
    set: int = Field(description="Images that have the label given now.")
    removed: int = Field(description="Images whose label was taken away.")
    ignored: int = Field(description="Paths of files that were refused or are duplicates.")


class FolderImport(BaseModel):
    """Images that lie on the server, in one of the folders that ``ANCHORHOOD_IMPORT_ROOTS`` allows."""

    model_config = ConfigDict(extra="forbid")

    uri: Text = Field(max_length=4096, examples=["file:///srv/photographs/2026"])


class DatasetMetadata(BaseModel):
    metadata: Metadata = {}


class DatasetImport(FolderImport, DatasetMetadata):
    name: Text | None = Field(None, max_length=200, description="Default: the folder's name.")
    labels: Literal["none", "folders"] = "none"


class Deletions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image_ids: list[Annotated[int, Field(ge=0, le=MAX_ID)]] = Field(min_length=1, max_length=10_000)


class DeletedBody(BaseModel):
    deleted: int


class FormatBody(BaseModel):
    name: str = Field(examples=["JPEG"])
    media_type: str = Field(examples=["image/jpeg"])
    extensions: list[str] = Field(examples=[["jpg", "jpeg"]])


class FormatsBody(BaseModel):
    formats: list[FormatBody]
    ignored: str = Field(description="A regular expression, for Python and JavaScript, of the paths that are passed over.")


class Health(BaseModel):
    status: Literal["ok", "degraded"]
    missing: list[str] = Field(default=[], description="What does not answer.", examples=[["broker"]])


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
