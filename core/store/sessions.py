"""Sessions of the page: a random id that a browser keeps as a cookie instead of the key. Only its SHA-256 is kept here. A session
ends when it is closed, is not used, or is old, and with its key."""

import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select, update

from core.store import keys
from core.store.columns import now
from core.store.db import Database
from core.store.keys import Held
from core.store.tables import ApiKey, PageSession

_LONGEST = 14  # times the idle lifetime, after which one that is in use ends, too
_USE_SECONDS = 60  # within which a second use is not recorded


def start(db: Database, key_id: str, idle: timedelta) -> str:
    """A new session of a key; its id is shown to the browser alone. Those that are over are deleted.

    Args:
        idle: how long a session lasts without being used.
    """
    text, moment = secrets.token_urlsafe(32), now()
    unused, old = _limits(moment, idle)
    with db.write() as session:
        session.execute(delete(PageSession).where(or_(PageSession.used_at <= unused, PageSession.created_at <= old)))
        session.add(PageSession(sha256=keys.digest(text), key_id=key_id, created_at=moment, used_at=moment))
    return text


def verify(db: Database, text: str, idle: timedelta) -> Held | None:
    """The key of a session that goes on, ``None`` for anything else."""
    sha256, moment = keys.digest(text), now()
    unused, old = _limits(moment, idle)
    wanted = select(ApiKey).join(PageSession).where(PageSession.sha256 == sha256, keys.is_valid(moment))
    with db.read() as session:
        key = session.scalar(wanted.where(PageSession.used_at > unused, PageSession.created_at > old))
    return Held.of(key, session=sha256[:12]) if key else None


def record_use(db: Database, text: str) -> None:
    """Record that a session was used, at most once a minute."""
    moment = now()
    unrecorded = PageSession.used_at < moment - timedelta(seconds=_USE_SECONDS)
    with db.write() as session:
        session.execute(update(PageSession).where(PageSession.sha256 == keys.digest(text), unrecorded).values(used_at=moment))


def end(db: Database, text: str) -> None:
    """End a session for good; what is none is fine."""
    with db.write() as session:
        session.execute(delete(PageSession).where(PageSession.sha256 == keys.digest(text)))


def _limits(moment: datetime, idle: timedelta) -> tuple[datetime, datetime]:
    """When a session that goes on must have been used last, and when it must have begun."""
    return moment - idle, moment - _LONGEST * idle
