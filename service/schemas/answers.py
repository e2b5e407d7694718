"""What searches and classifications say."""

import time
from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, Field

from core.search.searcher import View
from core.search.snapshots import Neighbour
from core.search.votes import Classification, LeaveOneOut


class NeighbourBody(BaseModel):
    image_id: int
    score: float = Field(description="Cosine similarity.")
    path: str
    label: str | None


class NeighboursBody(BaseModel):
    model_id: str
    took_ms: float
    neighbours: list[NeighbourBody]


class ClassBody(BaseModel):
    label: str
    probability: float


class VoterBody(BaseModel):
    image_id: int
    score: float
    label: str | None


class ClassifyBody(BaseModel):
    model_id: str
    took_ms: float
    label: str | None = Field(description="Null: the confidence is below min_confidence, or the vote abstained.")
    confidence: float
    classes: list[ClassBody]
    voters: list[VoterBody]
    abstained: str | None = Field(description="Why no vote was held: too few labels. Then there are no classes and voters.")


class AccuracyBody(BaseModel):
    k: int
    accuracy: float


class JudgedBody(BaseModel):
    label: str
    judged: int
    right: int = Field(description="Those of them that were voted to be of it.")


class ConfusionBody(BaseModel):
    label: str
    voted: str
    count: int


class LeaveOneOutBody(BaseModel):
    """How well the labels given so far predict each other."""

    model_id: str
    k: int | None = Field(description="Voters: those asked for, lowered to the labelled images less one, or the number chosen.")
    judged: int = Field(description="Labelled images judged; of many an evenly spaced part.")
    accuracy: float | None
    class_count: int
    classes: list[JudgedBody] = Field(description="The one first of which most images were judged; `limit` from `offset` on.")
    confusion_count: int = Field(description="Pairs of classes of which an image of one was voted to be of the other.")
    confusions: list[ConfusionBody] = Field(description="The largest first; `limit` from `offset` on.")
    by_k: list[AccuracyBody] = Field(description="The accuracy for each number of voters tried.")
    abstained: str | None = Field(description="Why nothing was judged: too few labels. Then k and accuracy are null.")

    @classmethod
    def of(cls, view: View, judged: LeaveOneOut, offset: int, limit: int) -> Self:
        """An answer."""
        part = slice(offset, offset + limit)
        return cls(
            model_id=view.model_id,
            k=judged.k,
            judged=judged.judged,
            accuracy=judged.accuracy,
            class_count=len(judged.classes),
            classes=[JudgedBody(**vars(one)) for one in judged.classes[part]],
            confusion_count=len(judged.confusions),
            confusions=[ConfusionBody(**vars(one)) for one in judged.confusions[part]],
            by_k=[AccuracyBody(k=tried, accuracy=accuracy) for tried, accuracy in judged.by_k.items()],
            abstained=judged.abstained,
        )


class BatchBody(BaseModel):
    """Answers in the order of the queries."""

    model_id: str
    took_ms: float
    results: list[list[NeighbourBody]]


def neighbours_of(view: View, started: float, neighbours: Sequence[Neighbour]) -> dict[str, object]:
    """The values of a ``NeighboursBody``, which need no validation: they were made here."""
    return {"model_id": view.model_id, "took_ms": took(started), "neighbours": [vars(neighbour) for neighbour in neighbours]}


def classified(view: View, started: float, vote: Classification) -> dict[str, object]:
    """The values of a ``ClassifyBody``, which need no validation either."""
    return {
        "model_id": view.model_id,
        "took_ms": took(started),
        "label": vote.label,
        "confidence": vote.confidence,
        "classes": [{"label": label, "probability": probability} for label, probability in vote.classes],
        "voters": [{"image_id": voter.image_id, "score": voter.score, "label": voter.label} for voter in vote.voters],
        "abstained": vote.abstained,
    }


def took(started: float) -> float:
    """Milliseconds since a request was begun, by ``time.perf_counter``."""
    return round((time.perf_counter() - started) * 1000, 3)
