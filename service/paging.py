"""Where a list goes on: ``after`` is the ``next`` of the page before, and nothing else is."""

from typing import Annotated, Any, TypeVar

from fastapi import Query
from pydantic import BeforeValidator
from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from core.errors import BadCursor
from core.store.tables import Dataset, Job, Model
from service.schemas.common import MAX_ID

_DIGITS = 19  # of the largest id
Row = TypeVar("Row", Dataset, Job, Model)


def _number(given: object) -> int:
    text = str(given)
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) <= MAX_ID):
        raise BadCursor(f"after: {text[:100]!r} is not the `next` of a page of this list, which is a number")
    return int(text)


def _as_event(given: object) -> int:
    number = _number(given)
    if number > MAX_SEQ:
        raise BadCursor(f"after: {number} is not the `next` of a page of this list; no event has so large a number")
    return number


MAX_SEQ = 2**31 - 1  # what the column of events holds
After = Annotated[int, BeforeValidator(_number), Query(ge=0, le=MAX_ID, description="`next` of the page before.")]
AfterEvent = Annotated[int, BeforeValidator(_as_event), Query(ge=0, le=MAX_SEQ, description="`next` of the page before.")]
AfterId = Annotated[str | None, Query(description="`next` of the page before.")]


def row_after(session: Session, table: type[Row], after: str) -> Row:
    """The last row of the page before, by its id.

    Raises:
        BadCursor: there is none; perhaps it was deleted since.
    """
    row: Row | None = session.scalar(select(table).where(table.id == after))
    if row is None:
        what = table.__name__.lower()
        raise BadCursor(
            f"after: {after[:100]!r} is not the `next` of a page of this list; there is no {what} of that id (any more)"
        )
    return row


def created_after(table: type[Dataset] | type[Model], row: Any) -> ColumnElement[bool]:
    """Whether a row comes later than another in the order of ``created_at`` and, within a moment, ``id``."""
    return or_(table.created_at > row.created_at, and_(table.created_at == row.created_at, table.id > row.id))
