"""API keys: ``ah_<id>_<secret>``. Only their SHA-256 is kept: 256 random bits need no slower hash."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from core.errors import BadSettings, KeyNotFound
from core.store.columns import now
from core.store.db import Database
from core.store.tables import ApiKey

_TEXT = re.compile(r"ah_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_LIVE = select(ApiKey.sha256, ApiKey.scope).where(ApiKey.id == bindparam("id"), ApiKey.revoked_at.is_(None))
_USE_SECONDS = 60  # within which a second use is not recorded


class Scope(StrEnum):
    """What a key may do; each includes the ones before it."""

    READ = "read"  # look and ask
    WRITE = "write"  # upload, label, train, delete images
    ADMIN = "admin"  # delete datasets and models

    def covers(self, needed: "Scope") -> bool:
        order = list(Scope)
        return order.index(self) >= order.index(needed)


def generate() -> str:
    """A new key's text; it is shown once and cannot be read back."""
    return f"ah_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def add(session: Session, name: str, scope: Scope, text: str) -> ApiKey:
    """Add a key, which is valid from then on. Adding the same text again changes nothing: a revoked key stays revoked.

    Raises:
        BadSettings: ``text`` is no key.
    """
    match = _TEXT.fullmatch(text)
    if not match:
        raise BadSettings(
            "not a key; `anchorhood keys create` makes one: ah_<12 hexadecimal digits>_<43 letters, digits, - or _>"
        )
    known = session.get(ApiKey, match[1])
    if known:
        if not hmac.compare_digest(known.sha256, _digest(text)):
            raise BadSettings(f"another key has the id {known.id}")
        return known
    key = ApiKey(id=match[1], name=name, scope=scope, sha256=_digest(text), created_at=now())
    session.add(key)
    session.flush()
    return key


def list_all(session: Session) -> Sequence[ApiKey]:
    """All keys, revoked ones too, oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).all()


def revoke(session: Session, key_id: str) -> ApiKey:
    """End a key's validity for good; doing so twice is fine.

    Raises:
        KeyNotFound: no such key.
    """
    key = session.get(ApiKey, key_id)
    if key is None:
        raise KeyNotFound(key_id)
    key.revoked_at = key.revoked_at or now()
    return key


def required(db: Database) -> bool:
    """Whether requests need a key. They do once any key was made, even when all are revoked."""
    with db.read() as session:
        return session.scalar(select(ApiKey.id).limit(1)) is not None


def verify(db: Database, text: str) -> tuple[str, Scope] | None:
    """Id and scope of a valid key, ``None`` for anything else."""
    match = _TEXT.fullmatch(text)
    rows = db.look_up(_LIVE, id=match[1]) if match else []
    if not match or not rows or not hmac.compare_digest(rows[0][0], _digest(text)):
        return None
    return match[1], Scope(rows[0][1])


def record_use(db: Database, key_id: str) -> None:
    """Record that a key was used, at most once a minute."""
    moment = now()
    unrecorded = ApiKey.last_used_at.is_(None) | (ApiKey.last_used_at < moment - timedelta(seconds=_USE_SECONDS))
    with db.write() as session:
        session.execute(update(ApiKey).where(ApiKey.id == key_id, unrecorded).values(last_used_at=moment))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
