"""Route that sends the events of a job as they happen, as server-sent events.

Each event has an id, so a client whose connection broke continues after the last event that it received.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Final

import redis
from fastapi import APIRouter, Header, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from app.core.jobs import Job
from app.dependencies import MAY_READ, ListenersDep, OwnJobDep, may_listen
from app.listeners import Event, Listeners, MayListen, is_before
from app.openapi import problems

RECONNECT_MS: Final = 2000
# Without X-Accel-Buffering nginx would collect events before it passes them on.
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

_log = logging.getLogger("lipsync.api")

router = APIRouter(tags=["jobs"])


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=Response,  # with EventSourceResponse here, the document would give problems its media type too
    responses={
        200: {"description": "The events, as server-sent events.", "content": {"text/event-stream": {}}},
        204: {"description": "The job has ended and `Last-Event-ID` was its last event: do not ask again."},
        **problems(404, 422, 429, 503),
    },
    dependencies=[MAY_READ],
)
async def follow_job(
    job: OwnJobDep,
    listeners: ListenersDep,
    request: Request,
    last_event_id: Annotated[
        str | None,
        Header(
            pattern=r"^[0-9]{1,15}-[0-9]{1,15}$",
            description="The id of an event, such as `1772366400000-0`: only the events after it are sent.",
        ),
    ] = None,
) -> Response:
    """Send the events of the job until it ends, then close the connection.

    There are three kinds: `status` (the job's status changed), `progress` (stage, percentage, frames and speed) and one
    `end`. The first events describe what happened before the call. After a broken connection, `Last-Event-ID` continues
    where it broke; browsers send this header by themselves. When a job is retried, its new events follow the
    earlier ones. The connection also closes, within seconds, when the caller's key is revoked or expires.
    """
    # Not a generator route of FastAPI: such a route sends the headers of a 200 before its code runs, so it could not
    # answer 204 or 429. It would also send `no-cache` beside our Cache-Control, and its keep-alive time is fixed.
    after = last_event_id or "0-0"
    if not is_before(after, job.last_event):
        if job.status.is_terminal:
            return Response(status_code=204)
        after = job.last_event
    if request.method == "HEAD":  # no body is sent, so nobody listens
        return Response(media_type="text/event-stream", headers=_HEADERS)
    return _ListenerResponse(_event_stream(job, listeners, after, may_listen(request)), listeners)


class _ListenerResponse(EventSourceResponse):
    """Stream of events that holds the place of a listener exactly as long as it is sent, whoever ends it."""

    def __init__(self, events: AsyncIterator[bytes], listeners: Listeners) -> None:
        super().__init__(events, headers=_HEADERS)
        self._listeners = listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; raises CapacityError(rate_limited) before anything is sent."""
        with self._listeners.place():
            await super().__call__(scope, receive, send)


async def _event_stream(job: Job, listeners: Listeners, after: str, is_allowed: MayListen) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RECONNECT_MS)
    try:
        async for events in listeners.follow(job.id, after, is_allowed):
            # Proxies close a connection on which nothing is sent for long, hence the comment.
            yield b"".join(map(_encode, events)) or format_sse_event(comment="nothing new")
    except redis.RedisError as error:
        _log.warning("event stream ended early job=%s error=%s", job.id, type(error).__name__)


def _encode(event: Event) -> bytes:
    return format_sse_event(event=event.name, id=event.id, data_str=json.dumps(event.data, separators=(",", ":")))
