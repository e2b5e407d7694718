"""Which datasets a request may see: with a limited key only those that the key names.

It is seen to here, in every query through a session and in ``Database.look_up``, rather than in each route: what may not be seen
is not there. Only the rows by which everything else is found are filtered; an event, a label or a vector is reached through them.
"""

from contextvars import ContextVar

from sqlalchemy import bindparam, event, select
from sqlalchemy.orm import InstrumentedAttribute, ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.sql.base import ExecutableOption

from core.errors import NotAllowed
from core.store.tables import Base, Dataset, Image, Job, KeyDataset, Model, Rejection

EVERYTHING = "everything"  # the execution option of a query that must see all rows, such as what is in use
_KEY: ContextVar[str | None] = ContextVar("limited_key", default=None)  # a thread that works for a request has its context
_ALLOWED = select(KeyDataset.dataset_id).where(KeyDataset.key_id == bindparam("limited_key", callable_=_KEY.get))
_COLUMNS: dict[type[Base], InstrumentedAttribute[str]] = {
    Dataset: Dataset.id,
    **{table: table.dataset_id for table in (Image, Job, Model, Rejection)},
}
_OPTIONS = tuple(with_loader_criteria(table, column.in_(_ALLOWED)) for table, column in _COLUMNS.items())


def limit_to(key_id: str | None) -> None:
    """Let the rest of this task, and the threads that it starts, see what a limited key may see; ``None``: everything."""
    _KEY.set(key_id)


def limits() -> tuple[ExecutableOption, ...]:
    """The options that take from a statement what may not be seen; mostly none."""
    return () if _KEY.get() is None else _OPTIONS


def require_all() -> None:
    """Raises ``NotAllowed`` where only some datasets may be seen."""
    if _KEY.get() is not None:
        raise NotAllowed("this key is limited to datasets, so that it can make none")


@event.listens_for(Session, "do_orm_execute")
def _limited(state: ORMExecuteState) -> None:
    if (options := limits()) and not state.execution_options.get(EVERYTHING):
        state.statement = state.statement.options(*options)
