"""What handlers depend on: the settings, a session, the searcher, the bell; and the ids in their paths."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Path, Request
from sqlalchemy.orm import Session

from core.files.thumbnails import Thumbnails
from core.jobs.bell import Bell, make_app
from core.search.searcher import WAITING, Searcher
from core.settings import Settings
from core.store import pools
from core.store.db import Database
from core.untrusted.decoding import Decoders
from service.metrics import Metrics
from service.schemas.common import MAX_ID


@dataclass
class Context:
    """One for each application."""

    settings: Settings
    db: Database
    searcher: Searcher
    bell: Bell
    metrics: Metrics
    thumbnailers: Decoders  # of their own, so that no query keeps thumbnails waiting
    thumbnails: Thumbnails
    # for searches of many examples, of which more at one time than processors would only wait for each other
    searches: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(os.cpu_count() or 1))
    stopping: Event = field(default_factory=Event)  # event streams end when it is set

    @classmethod
    def of(cls, settings: Settings) -> "Context":
        db, metrics = Database(settings.database, pools.of_api(settings.api_processes)), Metrics()
        searcher, bell = Searcher(settings, db, metrics.encoding.observe), Bell(make_app(settings))
        return cls(settings, db, searcher, bell, metrics, Decoders(settings, waiting=WAITING), Thumbnails(settings.layout))


async def _context(request: Request) -> Context:  # a plain function would be sent to a thread
    context: Context = request.app.state.context
    return context


def _reading(context: Annotated[Context, Depends(_context)]) -> Iterator[Session]:
    with context.db.read() as session:
        yield session


Ctx = Annotated[Context, Depends(_context)]
Reading = Annotated[Session, Depends(_reading, scope="function")]
ImageId = Annotated[int, Path(ge=0, le=MAX_ID)]
