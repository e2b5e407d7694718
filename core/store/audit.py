"""Who did what: one line for each write, in the transaction of what it tells wherever there is one.

Whoever serves a request holds an ``Entry`` while it is answered. The first write transaction of that time takes its line along.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

from sqlalchemy import event, inspect, literal, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store import keyset
from core.store.columns import ImageId, now
from core.store.keyset import Page
from core.store.tables import Base, Dataset, Job

_MOST_OBJECTS = 100  # that a line names
_entry: ContextVar["Entry | None"] = ContextVar("audit_entry", default=None)


class Audit(Base):
    """Who did what: a write that was answered, or that a command of the operator did. It outlives what it tells of."""

    __tablename__ = "audit"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(ImageId, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    key_id: Mapped[str | None]
    session: Mapped[str | None]  # a hash of the page's session
    address: Mapped[str | None]  # of the client, or user@host of a command
    request_id: Mapped[str | None]
    action: Mapped[str]  # the route's name, or the command's
    object: Mapped[str]  # ids with spaces between them
    status: Mapped[int | None]  # of the answer; None: a command


class Entry:
    """The line of a write that is going on.

    Args:
        describe: the line as far as it is known, without its objects; ``None`` where what goes on is no write.
    """

    def __init__(self, describe: Callable[[], Audit | None]) -> None:
        self._describe = describe
        self._objects: dict[str, None] = {}  # in the order in which they were named
        self._line: Audit | None = None

    @property
    def written(self) -> bool:
        """Whether the line is in the database; not where its transaction was rolled back."""
        return self._line is not None and inspect(self._line).has_identity

    @property
    def objects(self) -> str:
        """The ids of what the write is about, the first of them."""
        return _shown(list(self._objects))

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """The time in which the first write transaction takes the line along."""
        token = _entry.set(self)
        try:
            yield
        finally:
            _entry.reset(token)

    def mention(self, *ids: object) -> None:
        """Name objects that the write is about."""
        self._objects.update(dict.fromkeys(map(str, ids)))

    @contextmanager
    def within(self, session: Session) -> Iterator[None]:
        """A transaction that takes the line along, with the ids of the datasets and jobs that it makes."""
        made: list[str] = []

        def note(session: Session, _: object) -> None:
            for new in session.new:
                if isinstance(new, Dataset | Job):
                    made.extend([new.id, new.dataset_id] if isinstance(new, Job) else [new.id])

        event.listen(session, "after_flush", note)
        yield
        session.flush()  # so that every new object was seen
        self.mention(*made)
        self._line = self._described()
        if self._line is not None:
            session.add(self._line)

    @property
    def outdated(self) -> bool:
        """Whether a line is there that says something else than what is known by now."""
        known = self._described()
        return self._line is not None and known is not None and _late(self._line) != _late(known)

    def correct(self, session: Session) -> None:
        """Put right the line that is there."""
        known = self._described()
        if self.written and known is not None and self._line is not None:
            session.execute(update(Audit).where(Audit.id == self._line.id).values(_late(known)))

    def _described(self) -> Audit | None:
        line = self._describe()
        if line is not None:
            line.object = self.objects
        return line


def _late(line: Audit) -> dict[str, object]:
    """What may be known only when a request is answered."""
    return {name: getattr(line, name) for name in ("status", "object", "key_id", "session")}


def _shown(ids: list[str]) -> str:
    more = len(ids) - _MOST_OBJECTS
    return " ".join([*ids[:_MOST_OBJECTS], *([f"+{more}"] if more > 0 else [])])


@contextmanager
def within(session: Session) -> Iterator[None]:
    """A write transaction, which takes along the line of what goes on, if one does and no other transaction did so before."""
    entry = _entry.get()
    if entry is None or entry.written:
        yield
    else:
        with entry.within(session):
            yield


def mention(*ids: object) -> None:
    """Name objects of the write that is going on, if one is."""
    entry = _entry.get()
    if entry is not None:
        entry.mention(*ids)


def add(session: Session, action: str, *objects: str, address: str) -> None:
    """Add the line of what a command of the operator does in this transaction."""
    session.add(Audit(created_at=now(), action=action, object=_shown(list(objects)), address=address))


def listing(
    session: Session,
    limit: int,
    after: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    key_id: str | None = None,
    action: str | None = None,
    object_id: str | None = None,
    newest_first: bool = False,
) -> Page[Audit]:
    """Lines in the order in which they were written, perhaps only those of a time, a key, an action or an object.

    Args:
        after: the id of the last line of the previous page; 0 for the first page.
        since: the earliest time.
        until: the time before which they were written.
    """
    wanted = select(Audit)
    for column, value in ((Audit.key_id, key_id), (Audit.action, action)):
        if value is not None:
            wanted = wanted.where(column == value)
    if since is not None:
        wanted = wanted.where(Audit.created_at >= since)
    if until is not None:
        wanted = wanted.where(Audit.created_at < until)
    if object_id is not None:
        words = literal(" ").concat(Audit.object).concat(" ")
        wanted = wanted.where(words.contains(f" {object_id} ", autoescape=True))
    at = (after,) if after else None
    rows = session.scalars(keyset.following(wanted, (Audit.id,), at, limit, newest_first=newest_first)).all()
    return keyset.page(rows, limit, lambda row: row.id)
