"""Idempotency keys: a request that is sent again with its key gets the job that it made the first time."""

import hashlib
from collections.abc import Callable

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.errors import KeyReused
from core.ground import finite
from core.jobs import lifecycle
from core.store.columns import now
from core.store.db import Database
from core.store.tables import IdempotencyKey, Job


def job_once(db: Database, key: str | None, request: object, make: Callable[[Session], Job]) -> tuple[Job, bool]:
    """The job that ``make`` inserts, or the one that an earlier request with this key made.

    Args:
        key: the client's key, which stays bound to this request; without a key every request makes a job.
        request: the content of the request, as a JSON value.
        make: inserts the job in the given transaction.

    Returns:
        The job, and whether it is new.

    Raises:
        KeyReused: the key came with another request before.
    """
    if key is None:
        with db.write() as session:
            return make(session), True
    digest = hashlib.sha256(finite.dumps(request, sort_keys=True).encode()).hexdigest()
    try:
        with db.write() as session:
            earlier = _earlier(session, key, digest)
            if earlier is not None:
                return earlier, False
            job = make(session)
            session.add(IdempotencyKey(key=key, request=digest, job_id=job.id, created_at=now()))
            return job, True
    except IntegrityError:  # the same key at the same moment, in another process
        with db.read() as session:
            earlier = _earlier(session, key, digest)
        if earlier is None:
            raise
        return earlier, False


def _earlier(session: Session, key: str, digest: str) -> Job | None:
    known = session.get(IdempotencyKey, key)
    if known is None:
        return None
    if known.request != digest:
        raise KeyReused(f"Idempotency-Key {key!r} came before, with another request; it made {known.job_id}")
    return lifecycle.get(session, known.job_id)
