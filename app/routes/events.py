"""Tell a job's news as they happen: server-sent events, each once, also over a broken line."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Final

import redis
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from app.core.jobs import Job
from app.dependencies import ListenersDep, OwnJobDep
from app.listeners import Event, Listeners, is_before
from app.openapi import problems

RECONNECT_MS: Final = 2000
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter: nginx passes events at once

_log = logging.getLogger("lipsync.api")

router = APIRouter(tags=["jobs"])


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=Response,
    responses={
        200: {"description": "The events.", "content": {"text/event-stream": {}}},
        204: {"description": "The job has ended, and `Last-Event-ID` was its last event: do not ask again."},
        **problems(404, 422, 429, 503),
    },
)
async def follow_job(
    job: OwnJobDep,
    listeners: ListenersDep,
    last_event_id: Annotated[
        str | None, Header(pattern=r"^[0-9]{1,15}-[0-9]{1,15}$", description="Go on behind this event.")
    ] = None,
) -> Response:
    """Send `status` (of the job), `progress` (its stage and figures) and, when it has ended, one `end`; then close.

    The first events tell what happened before the call. A lost line is taken up with `Last-Event-ID`, as browsers do by
    themselves. A job that is tried again begins anew: its new events come behind those of before.
    """
    after = last_event_id or "0-0"
    if not is_before(after, job.last_event):
        if job.status.is_terminal:
            return Response(status_code=204)
        after = job.last_event
    listeners.check_capacity()
    return StreamingResponse(_lines(job, listeners, after), headers=_HEADERS, media_type="text/event-stream")


async def _lines(job: Job, listeners: Listeners, after: str) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RECONNECT_MS)
    try:
        async for news in listeners.follow(job.id, after):
            yield b"".join(map(_line, news)) or format_sse_event(comment="nothing new")
    except redis.RedisError as error:
        _log.warning("events broken off job=%s error=%s", job.id, type(error).__name__)


def _line(event: Event) -> bytes:
    return format_sse_event(event=event.name, id=event.id, data_str=json.dumps(event.data, separators=(",", ":")))
