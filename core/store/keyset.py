"""Keyset pagination: a page begins after the last row of the previous page (``WHERE key > last``), never at an offset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, TypeVarTuple

from sqlalchemy import ColumnElement, Select, Text, and_, cast, func, literal, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.errors import BadCursor
from core.store.tables import Dataset, Job, Model

PAGE_BYTES = 1 << 20
Row = TypeVar("Row")
Columns = TypeVarTuple("Columns")
Named = TypeVar("Named", Dataset, Job, Model)
Key = Sequence[InstrumentedAttribute[int] | InstrumentedAttribute[str] | InstrumentedAttribute[datetime]]


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of a list, and the ``after`` of the next page; ``None`` where this is the last page."""

    rows: Sequence[Row]
    next: str | None


def page(rows: Sequence[Row], limit: int, cursor: Callable[[Row], object]) -> Page[Row]:
    """The rows that ``following`` selected, as a page.

    Args:
        cursor: gives the value by which the next page names a row of this one.
    """
    return Page(rows[:limit], str(cursor(rows[limit - 1])) if len(rows) > limit else None)


def fitting(session: Session, statement: Select[*Columns], heavy: Sequence[InstrumentedAttribute[Any]], limit: int) -> int:
    """How many rows of a page, at most ``limit``, are read at once: at least one, and no more than have ``PAGE_BYTES`` of what
    clients noted with them, which takes ten times that in memory.

    Args:
        statement: what ``following`` made.
        heavy: its columns of JSON.
    """
    sizes = (func.coalesce(func.length(cast(column, Text)), 0) for column in heavy)
    total = 0
    for count, size in enumerate(session.scalars(statement.with_only_columns(sum(sizes, literal(0))))):
        total += size
        if count and total > PAGE_BYTES:
            return min(count, limit)
    return limit


def following(
    wanted: Select[*Columns],
    key: Key,
    last: Sequence[object] | None,
    limit: int,
    *,
    newest_first: bool = False,
) -> Select[*Columns]:
    """The query for the rows of the next page in the order of a key, and for one more, which shows whether another page follows.

    Args:
        key: columns whose values together differ in every row.
        last: the key of the last row of the previous page; ``None`` for the first page.
    """
    if last is not None:
        wanted = wanted.where(_beyond(key, last, newest_first))
    return wanted.order_by(*(column.desc() if newest_first else column for column in key)).limit(limit + 1)


def _beyond(key: Key, last: Sequence[object], newest_first: bool) -> ColumnElement[bool]:
    column, value = key[0], last[0]
    further = column < value if newest_first else column > value
    return further if len(key) == 1 else or_(further, and_(column == value, _beyond(key[1:], last[1:], newest_first)))


def row_after(session: Session, table: type[Named], after: str) -> Named:
    """The last row of the previous page, by its id.

    Raises:
        BadCursor: there is none; perhaps it was deleted since.
    """
    row: Named | None = session.scalar(select(table).where(table.id == after))
    if row is None:
        what = table.__name__.lower()
        raise BadCursor(
            f"after: {after[:100]!r} is not the `next` of a page of this list; there is no {what} of that id (any more)"
        )
    return row
