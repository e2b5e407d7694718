"""What bodies share, and those of the session, of formats, health and problems."""

import json
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, Field

Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # what every database can hold; a pattern also refuses lone surrogates
MAX_ID = 2**63 - 1  # what a database's integers hold
Item = TypeVar("Item")


def _finite(value: dict[str, Any]) -> dict[str, Any]:
    """JSON that every database can hold; ``uploads.parse_json`` has seen to its texts."""
    json.dumps(value, allow_nan=False)
    return value


Metadata = Annotated[dict[str, Any], AfterValidator(_finite)]


class FromRow(BaseModel):
    """A body whose fields are columns of a row."""

    @classmethod
    def of(cls, row: object) -> Self:
        """A row as the API shows it."""
        return cls.model_validate(row, from_attributes=True)


class PageBody(BaseModel, Generic[Item]):
    """``next`` is the value of ``after`` for the following page, null on the last one."""

    next: str | None
    data: list[Item]


class Error(BaseModel):
    code: str
    message: str


class SessionRequest(BaseModel):
    key: str = Field(examples=["ah_0123456789ab_…"], max_length=200)


class SessionBody(BaseModel):
    required: bool = Field(description="Whether this service asks for a key.")
    scope: Literal["read", "write", "admin"] | None = Field(description="What may be done; null: nothing without a key.")


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
