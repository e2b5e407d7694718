"""Bodies of datasets, their labels and refused files."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from core.store.tables import Dataset
from service.schemas.common import Error, FromRow, Metadata, PageBody, Text

DatasetName = Annotated[str, Field(pattern=r"^[^\x00]*\S[^\x00]*$", max_length=200)]


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

    @classmethod
    def of(cls, row: Dataset) -> Self:
        """A row as the API shows it."""
        columns = {name: getattr(row, name) for name in cls.model_fields if name != "metadata"}
        return cls.model_validate({**columns, "metadata": row.dataset_metadata})


class DatasetChange(BaseModel):
    """What is left out or null stays; ``metadata`` is replaced as a whole."""

    model_config = ConfigDict(extra="forbid")

    name: DatasetName | None = None
    metadata: Metadata | None = None


class RejectionBody(FromRow):
    job_id: str | None = Field(description="The job that looked at it, which may have failed.")
    path: str
    code: str = Field(examples=["not_an_image", "truncated", "too_many_pixels", "too_much_work", "unsafe_path", "duplicate"])
    reason: str


class DatasetPage(PageBody[DatasetBody]):
    pass


class UnlistedBody(FromRow):
    job_id: str
    code: str = Field(examples=["not_an_image", "duplicate"])
    count: int


class RejectionPage(PageBody[RejectionBody]):
    more: list[UnlistedBody] = Field(
        [], description="Where there are more, their number by upload and reason; of each the first 10,000 are listed."
    )


class LabelsBody(FromRow):
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
