"""Parameters and answers of every list. ``after`` must be the ``next`` of the page before."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Query
from pydantic import BeforeValidator

from core.errors import BadCursor
from core.store.keyset import Page
from service.schemas.common import MAX_ID, PageBody

_DIGITS = 19  # of the largest id
Row = TypeVar("Row")
Answer = TypeVar("Answer", bound=PageBody[Any])


def _number(value: object) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) <= MAX_ID):
        raise BadCursor(f"after: {text[:100]!r} is not the `next` of a page of this list, which is a number")
    return int(text)


def _as_event(value: object) -> int:
    number = _number(value)
    if number > MAX_SEQ:
        raise BadCursor(f"after: {number} is not the `next` of a page of this list; no event has so large a number")
    return number


MAX_SEQ = 2**31 - 1  # what the column of events holds
Limit = Annotated[int, Query(ge=1, le=1000)]
After = Annotated[int, BeforeValidator(_number), Query(ge=0, le=MAX_ID, description="`next` of the page before.")]
AfterEvent = Annotated[int, BeforeValidator(_as_event), Query(ge=0, le=MAX_SEQ, description="`next` of the page before.")]
AfterId = Annotated[str | None, Query(description="`next` of the page before.")]


def answer(kind: type[Answer], page: Page[Row], body: Callable[[Row], object]) -> Answer:
    """A page as the API shows it.

    Args:
        body: shows one row.
    """
    return kind(data=[body(row) for row in page.rows], next=page.next)
