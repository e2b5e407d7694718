"""What handlers depend on: the settings, a session, the searcher, the bell; and the ids in their paths."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Annotated

from fastapi import Depends, Path, Request
from sqlalchemy.orm import Session

from core.jobs.bell import Bell, make_app
from core.search.searcher import Searcher
from core.settings import Settings
from core.store.db import Database
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
    stopping: Event = field(default_factory=Event)  # event streams end when it is set

    @classmethod
    def of(cls, settings: Settings) -> "Context":
        db, metrics = Database(settings.database), Metrics()
        return cls(settings, db, Searcher(settings, db, metrics.encoding.observe), Bell(make_app(settings)), metrics)


async def _context(request: Request) -> Context:  # a plain function would be sent to a thread
    context: Context = request.app.state.context
    return context


def _reading(context: Annotated[Context, Depends(_context)]) -> Iterator[Session]:
    with context.db.read() as session:
        yield session


Ctx = Annotated[Context, Depends(_context)]
Reading = Annotated[Session, Depends(_reading, scope="function")]
ImageId = Annotated[int, Path(ge=0, le=MAX_ID)]
