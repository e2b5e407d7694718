"""What happens to a job, as pages or as a stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from core.ground import finite
from core.jobs import lifecycle
from core.store.kinds import JobStatus
from core.store.tables import JobEvent
from service.context import Context, Ctx
from service.paging import MAX_SEQ, AfterEvent
from service.schemas.jobs import EventBody, EventPage

router = APIRouter(tags=["jobs"])
_STREAM_PAGE = 500
_COMMENT_EVERY = 15  # seconds without an event


@router.get(
    "/jobs/{job_id}/events",
    response_model=EventPage,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "A page, or a stream where that is accepted"},
        204: {"description": "The job is over and Last-Event-ID its last event: a browser stops connecting again"},
    },
)
async def list_job_events(
    job_id: str,
    request: Request,
    context: Ctx,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: AfterEvent = 0,
    accept: Annotated[str, Header()] = "*/*",
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_SEQ)] = None,
) -> Response:
    """What happened to a job, in order: JSON pages, or server-sent events for ``Accept: text/event-stream``."""
    seen = after if last_event_id is None else last_event_id
    left, over, _ = await run_in_threadpool(_page, context, job_id, seen, 1)  # 404 before a stream begins
    if "text/event-stream" in accept:
        if over and not left and last_event_id is not None:
            return Response(status_code=204)
        stream = _stream(context, request, job_id, seen)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    events, _, _ = await run_in_threadpool(_page, context, job_id, after, limit + 1)
    page = EventPage(data=events[:limit], next=str(events[limit - 1].seq) if len(events) > limit else None)
    return Response(page.model_dump_json(), media_type="application/json")


def _page(context: Context, job_id: str, after: int, limit: int) -> tuple[list[EventBody], bool, dict[str, Any] | None]:
    """Events after a number, whether the job is over, and its progress."""
    with context.db.read() as session:
        job = lifecycle.get(session, job_id)
        over = JobStatus(job.status).over
        wanted = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > after)
        rows = session.scalars(wanted.order_by(JobEvent.seq).limit(limit)).all()
    return [EventBody.model_validate(row, from_attributes=True) for row in rows], over, job.progress


async def _stream(context: Context, request: Request, job_id: str, after: int) -> AsyncIterator[str]:
    """Server-sent events until the job is over, the client is gone or the server stops; one short read a second.

    ``progress`` is how far a running job is, whenever that has changed. It is no event of the job: it has no number, and a
    stream that goes on does not repeat it.
    """
    silent, told = 0, None
    while not context.stopping.is_set() and not await request.is_disconnected():
        events, over, progress = await run_in_threadpool(_page, context, job_id, after, _STREAM_PAGE)
        for event in events:
            after = event.seq
            yield f"id: {event.seq}\nevent: {event.type}\ndata: {finite.dumps(event.data)}\n\n"
        if over and len(events) < _STREAM_PAGE:
            return
        if len(events) == _STREAM_PAGE:
            continue
        changed = not over and progress is not None and progress != told
        if changed:
            told = progress
            yield f"event: progress\ndata: {finite.dumps(progress)}\n\n"
        silent = 0 if events or changed else silent + 1
        if silent and silent % _COMMENT_EVERY == 0:
            yield ": still here\n\n"
        await asyncio.sleep(1)
