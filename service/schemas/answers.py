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

    @classmethod
    def of(cls, view: View, started: float, neighbours: Sequence[Neighbour]) -> Self:
        """An answer; ``started`` is when the request was, by ``time.perf_counter``."""
        return cls.model_validate(neighbours_of(view, started, neighbours))


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

    @classmethod
    def of(cls, view: View, started: float, vote: Classification) -> Self:
        """An answer; ``started`` is when the request was, by ``time.perf_counter``."""
        return cls(
            model_id=view.model_id,
            took_ms=_took(started),
            label=vote.label,
            confidence=vote.confidence,
            classes=[ClassBody(label=label, probability=probability) for label, probability in vote.classes],
            voters=[VoterBody(image_id=voter.image_id, score=voter.score, label=voter.label) for voter in vote.voters],
            abstained=vote.abstained,
        )


class AccuracyBody(BaseModel):
    k: int
    accuracy: float


class LeaveOneOutBody(BaseModel):
    """How well the labels given so far predict each other."""

    model_id: str
    k: int | None = Field(description="Voters: those asked for, lowered to the labelled images less one, or the number chosen.")
    judged: int = Field(description="Labelled images judged; of many an evenly spaced part.")
    accuracy: float | None
    classes: list[str]
    confusion: list[list[int]] = Field(description="confusion[i][j]: images of classes[i] that were voted to be of classes[j].")
    by_k: list[AccuracyBody] = Field(description="The accuracy for each number of voters tried.")
    abstained: str | None = Field(description="Why nothing was judged: too few labels. Then k and accuracy are null.")

    @classmethod
    def of(cls, view: View, judged: LeaveOneOut) -> Self:
        """An answer."""
        by_k = [{"k": tried, "accuracy": accuracy} for tried, accuracy in judged.by_k.items()]
        changed = {"model_id": view.model_id, "confusion": judged.confusion.tolist(), "by_k": by_k}
        return cls.model_validate({**vars(judged), **changed})


class BatchBody(BaseModel):
    """Answers in the order of the queries."""

    model_id: str
    took_ms: float
    results: list[list[NeighbourBody]]

    @classmethod
    def of(cls, view: View, started: float, answers: Sequence[Sequence[Neighbour]]) -> Self:
        """An answer; ``started`` is when the request was, by ``time.perf_counter``."""
        results = [[vars(neighbour) for neighbour in neighbours] for neighbours in answers]
        return cls.model_validate({"model_id": view.model_id, "took_ms": _took(started), "results": results})


def neighbours_of(view: View, started: float, neighbours: Sequence[Neighbour]) -> dict[str, object]:
    """The values of a ``NeighboursBody``, which need no validation: they were made here."""
    return {"model_id": view.model_id, "took_ms": _took(started), "neighbours": [vars(neighbour) for neighbour in neighbours]}


def _took(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
