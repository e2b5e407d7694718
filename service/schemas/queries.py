"""What is asked of searches; ``answers`` has what they say."""

from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from core.ground.label_text import label_text
from core.search.queries import Filter, Query
from service.schemas.common import MAX_ID, Text

MAX_K = 1000
MAX_OFFSET = 10_000
_MAX_EXAMPLES, _MAX_LABELS, _MAX_LABEL = 100, 1000, 1000
Id = Annotated[int, Field(ge=0, le=MAX_ID)]
PathPrefix = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]
Entropy = Annotated[float, Field(allow_inf_nan=False)]
# Lists fail at their first error: each would take hundreds of bytes.
Ids = Annotated[list[Id], Field(max_length=_MAX_EXAMPLES, fail_fast=True)]
Labels = Annotated[list[Annotated[str, Field(max_length=_MAX_LABEL)]], Field(max_length=_MAX_LABELS, fail_fast=True)]
Vector = Annotated[list[float], Field(min_length=1, max_length=4096, fail_fast=True)]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class FilterParams(BaseModel):
    """Which images may be found."""

    label: Annotated[Labels | None, BeforeValidator(_listed)] = Field(None, description="Any of these labels; one or several.")
    unlabelled: bool = Field(False, description="Images without a label, beside those of ``label``.")
    anchor_round: int | None = Field(
        None, ge=0, le=20, description="The round in which the image became an anchor; 0: it never did."
    )
    min_entropy: Entropy | None = Field(None, description="Entropy at the end of ``entropy_round``, nats.")
    max_entropy: Entropy | None = None
    entropy_round: int | None = Field(None, ge=0, le=20, description="By default the last.")
    trained_towards: Id | None = Field(None, description="An image that was among the neighbours the found ones learned from.")
    path_prefix: PathPrefix | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = self.min_entropy, self.max_entropy
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_entropy {low:g} is larger than max_entropy {high:g}")
        return self

    def filter(self) -> Filter:
        """The same for ``core``."""
        return Filter(
            None if self.label is None else tuple(text for each in self.label if (text := label_text(each))),
            self.unlabelled,
            self.anchor_round,
            self.min_entropy,
            self.max_entropy,
            self.entropy_round,
            self.trained_towards,
            self.path_prefix,
        )


class _SearchParams(FilterParams):
    model_config = ConfigDict(extra="forbid")

    k: int = Field(10, ge=1, le=MAX_K, description="Number of neighbours.")
    offset: int = Field(0, ge=0, le=MAX_OFFSET, description="Number of the best ones to pass over.")
    min_score: float = Field(-2, ge=-2, le=1, description="Cosine similarity.")


class ImageQuery(_SearchParams):
    """What is asked about a stored image."""

    image_id: Id
    dataset_id: Text | None = None
    model_id: Text | None = None

    def query(self) -> Query:
        """The same for ``core``."""
        return Query(positive=(self.image_id,), k=self.k, offset=self.offset, min_score=self.min_score, only=self.filter())


class FileQuery(_SearchParams):
    """What goes with an uploaded image."""

    dataset_id: Text | None = None
    model_id: Text | None = None

    def query(self, vector: NDArray[np.float32]) -> Query:
        """The same for ``core``."""
        return Query(vector=vector, k=self.k, offset=self.offset, min_score=self.min_score, only=self.filter())


class OneQuery(_SearchParams):
    """Exactly one of ``image_ids``, ``vector`` and ``positive``; ``negative`` only with ``positive``."""

    image_ids: Ids | None = Field(None, min_length=1, description="Search by the mean of these images.")
    vector: Vector | None = Field(None, description="As long as the model's embeddings.")
    positive: Ids | None = Field(None, min_length=1, description="Good examples.")
    negative: Ids = Field([], description="Bad examples.")
    strategy: Literal["average", "best_score"] = Field(
        "average", description="Search by the mean of the examples, or rank by the nearest good one where no bad one is nearer."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(value is not None for value in (self.image_ids, self.vector, self.positive)) != 1:
            raise ValueError("give exactly one of image_ids, vector and positive")
        if self.negative and self.positive is None:
            raise ValueError("negative needs positive")
        return self

    def query(self) -> Query:
        """The same for ``core``."""
        return Query(
            positive=tuple(self.image_ids or self.positive or ()),
            negative=tuple(self.negative),
            vector=None if self.vector is None else np.array(self.vector, np.float32),
            strategy=self.strategy,
            k=self.k,
            offset=self.offset,
            min_score=self.min_score,
            only=self.filter(),
        )


class QueryBody(OneQuery):
    dataset_id: Text | None = None
    model_id: Text | None = None


class BatchRequest(BaseModel):
    """Several queries of one model at one moment."""

    model_config = ConfigDict(extra="forbid")

    queries: list[OneQuery] = Field(min_length=1, max_length=256)
    dataset_id: Text | None = None
    model_id: Text | None = None


def query_parameters(kind: type[BaseModel]) -> list[dict[str, Any]]:
    """OpenAPI's description of a model whose fields are the parameters of a query."""
    schema = kind.model_json_schema()
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]
