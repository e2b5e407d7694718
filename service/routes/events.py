"""What happens to a job, as pages or as a stream."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from core.ground import finite
from core.jobs import lifecycle, listing
from core.store.db import Database
from core.store.keys import Scope
from core.store.keyset import Page
from core.store.kinds import JobStatus
from core.store.tables import JobEvent
from service.access import EVENT_STREAM, needs
from service.context import Context, Ctx
from service.paging import MAX_SEQ, AfterEvent, Limit, answer
from service.schemas.job_bodies import EventBody, EventPage

router = APIRouter(tags=["jobs"])
_STREAM_PAGE = 500
_EVERY = 1.0  # seconds from one look to the next
_COMMENT_EVERY = 15  # looks without an event


@router.get(
    "/jobs/{job_id}/events",
    response_model=EventPage,
    responses={
        200: {"content": {EVENT_STREAM: {}}, "description": "A page, or a stream where that is accepted"},
        204: {"description": "The job is over and Last-Event-ID its last event: a browser stops connecting again"},
    },
)
@needs(Scope.READ, stream=True)
async def list_job_events(
    job_id: str,
    request: Request,
    context: Ctx,
    limit: Limit = 100,
    after: AfterEvent = 0,
    accept: Annotated[str, Header()] = "*/*",
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_SEQ)] = None,
) -> Response:
    """What happened to a job, in order: JSON pages, or server-sent events for ``Accept: text/event-stream``."""
    last_event = after if last_event_id is None else last_event_id
    first = await run_in_threadpool(_look, context, job_id, last_event, 1)  # 404 before a stream begins
    if EVENT_STREAM in accept:
        if first.over and not first.events.rows and last_event_id is not None:
            return Response(status_code=204)
        stream = _watching(context, request, job_id, last_event)
        return StreamingResponse(stream, media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})
    state = await run_in_threadpool(_look, context, job_id, after, limit)
    page = answer(EventPage, state.events, EventBody.of)
    return Response(page.model_dump_json(), media_type="application/json")


class JobStates:
    """What open streams look at once a second, in one read for all of them: whether anything happened to their jobs."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._jobs: Counter[str] = Counter()  # streams of each job
        self._read: asyncio.Future[dict[str, listing.State]] | None = None
        self._began = float("-inf")

    @contextmanager
    def watched(self, job_id: str) -> Iterator[None]:
        """A stream of a job, as long as the block runs."""
        self._jobs[job_id] += 1
        try:
            yield
        finally:
            self._jobs[job_id] -= 1
            self._jobs += Counter()  # forgets those of which there are none

    async def of(self, job_id: str) -> listing.State | None:
        """The state of a watched job, up to a second old; ``None`` if it was deleted, or is not known yet."""
        loop = asyncio.get_running_loop()
        if self._read is None or loop.time() - self._began >= _EVERY:
            self._began = loop.time()
            self._read = asyncio.ensure_future(run_in_threadpool(self._look, list(self._jobs)))
        return (await asyncio.shield(self._read)).get(job_id)

    def _look(self, job_ids: list[str]) -> dict[str, listing.State]:
        with self._db.read() as session:
            return listing.states(session, job_ids)


@dataclass(frozen=True)
class _Look:
    """A job at one moment: events after a number, whether it is over, and how far it is."""

    events: Page[JobEvent]
    over: bool
    progress: dict[str, Any] | None


def _look(context: Context, job_id: str, after: int, limit: int) -> _Look:
    with context.db.read() as session:
        job = lifecycle.get(session, job_id)
        return _Look(listing.events(session, job_id, limit, after), JobStatus(job.status).over, job.progress)


async def _watching(context: Context, request: Request, job_id: str, after: int) -> AsyncIterator[str]:
    states: JobStates = request.app.state.job_states
    with states.watched(job_id):
        async for text in _stream(context, request, job_id, after):
            yield text


async def _stream(context: Context, request: Request, job_id: str, after: int) -> AsyncIterator[str]:
    """Server-sent events until the job is over, the client is gone or the server stops; read where something happened.

    ``progress`` is how far a running job is, whenever that has changed. It is no event of the job: it has no number, and a
    stream that goes on does not repeat it.
    """
    silent, last_progress, known = 0, None, None
    states: JobStates = request.app.state.job_states
    while not context.stopping.is_set() and not await request.is_disconnected():
        now = await states.of(job_id)
        if now is not None and now == known:
            silent += 1
            if silent % _COMMENT_EVERY == 0:
                yield ": still here\n\n"
            await asyncio.sleep(_EVERY)
            continue
        state = await run_in_threadpool(_look, context, job_id, after, _STREAM_PAGE)
        for event in state.events.rows:
            after = event.seq
            yield f"id: {event.seq}\nevent: {event.type}\ndata: {finite.dumps(event.data)}\n\n"
        if state.events.next is not None:
            continue
        if state.over:
            return
        changed = state.progress is not None and state.progress != last_progress
        if changed:
            last_progress = state.progress
            yield f"event: progress\ndata: {finite.dumps(state.progress)}\n\n"
        silent, known = 0, now
        await asyncio.sleep(_EVERY)
