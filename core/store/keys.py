"""API keys: ``ah_<id>_<secret>``. Only their SHA-256 is kept: 256 random bits need no slower hash."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from core.errors import BadSettings, DatasetNotFound, KeyNotFound
from core.store.columns import now
from core.store.db import Database
from core.store.tables import ApiKey, Dataset, KeyDataset

_TEXT = re.compile(r"ah_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_USE_SECONDS = 60  # within which a second use is not recorded


class Scope(StrEnum):
    """What a key may do; each includes the ones before it."""

    READ = "read"  # look and ask
    WRITE = "write"  # upload, label, train, delete images
    ADMIN = "admin"  # delete datasets and models

    def covers(self, needed: "Scope") -> bool:
        order = list(Scope)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True)
class Held:
    """What a request was sent with: a key, by itself or by way of a session."""

    id: str  # of the key
    scope: Scope
    limited: bool  # to some datasets
    session: str | None = None  # the beginning of its hash, which names it where it must not be given away

    @classmethod
    def of(cls, key: ApiKey, session: str | None = None) -> Self:
        return cls(key.id, Scope(key.scope), key.limited, session)


def generate() -> str:
    """A new key's text; it is shown once and cannot be read back."""
    return f"ah_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def add(
    session: Session,
    name: str,
    scope: Scope,
    text: str,
    expires: timedelta | None = None,
    datasets: Sequence[str] = (),
) -> ApiKey:
    """Add a key, which is valid from then on. Adding the same text again changes nothing: a revoked key stays revoked.

    Args:
        expires: how long it is valid; ``None``: until it is revoked.
        datasets: ids of the only datasets that it may see; none: it may see all.

    Raises:
        BadSettings: ``text`` is no key, or the key could delete what it is limited to.
        DatasetNotFound: one of the datasets.
    """
    if datasets and scope is Scope.ADMIN:
        raise BadSettings("a key that is limited to datasets has the scope read or write; admin deletes datasets")
    match = _TEXT.fullmatch(text)
    if not match:
        raise BadSettings(
            "not a key; `anchorhood keys create` makes one: ah_<12 hexadecimal digits>_<43 letters, digits, - or _>"
        )
    known = session.get(ApiKey, match[1])
    if known:
        if not hmac.compare_digest(known.sha256, digest(text)):
            raise BadSettings(f"another key has the id {known.id}")
        return known
    moment = now()
    key = ApiKey(id=match[1], name=name, scope=scope, sha256=digest(text), created_at=moment, limited=bool(datasets))
    key.expires_at = moment + expires if expires else None
    session.add(key)
    session.flush()
    for dataset_id in dict.fromkeys(datasets):
        if session.get(Dataset, dataset_id) is None:
            raise DatasetNotFound(dataset_id)
        session.add(KeyDataset(key_id=key.id, dataset_id=dataset_id))
    return key


def datasets_of(session: Session, key: ApiKey) -> list[str]:
    """The datasets that a limited key may see, those that were deleted left out."""
    wanted = select(KeyDataset.dataset_id).where(KeyDataset.key_id == key.id).order_by(KeyDataset.dataset_id)
    return list(session.scalars(wanted))


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


def is_valid(moment: datetime) -> ColumnElement[bool]:
    """The condition on a key that it is neither revoked nor expired."""
    return ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > moment)


def verify(db: Database, text: str) -> Held | None:
    """A valid key, ``None`` for anything else."""
    match = _TEXT.fullmatch(text)
    if not match:
        return None
    with db.read() as session:
        key = session.scalar(select(ApiKey).where(ApiKey.id == match[1], is_valid(now())))
    return Held.of(key) if key and hmac.compare_digest(key.sha256, digest(text)) else None


def id_of(text: str) -> str | None:
    """The public id in a key's text."""
    match = _TEXT.fullmatch(text)
    return match[1] if match else None


def record_use(db: Database, key_id: str) -> None:
    """Record that a key was used, at most once a minute."""
    moment = now()
    unrecorded = ApiKey.last_used_at.is_(None) | (ApiKey.last_used_at < moment - timedelta(seconds=_USE_SECONDS))
    with db.write_passing() as session:
        session.execute(update(ApiKey).where(ApiKey.id == key_id, unrecorded).values(last_used_at=moment))


def digest(text: str) -> str:
    """The SHA-256 of a secret of 256 random bits, which is what is kept of it."""
    return hashlib.sha256(text.encode()).hexdigest()
