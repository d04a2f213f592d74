"""Listeners: calls that wait for events of a job.

Every change of a job writes an event to the job's stream in Redis (`app.core.records.lua`). Events are therefore in
the order in which they happened, and a listener that knows the id of its last event misses none. A listener waits in a
blocking read of Redis, and the number of listeners is limited. Every few seconds it asks whether its caller may still
listen: a key can be revoked or expire meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio
from starlette.requests import ClientDisconnect, Request

from app.core.errors import CapacityError, ErrorCode
from app.core.records.connection import connect_listener
from app.core.records.keys import Key
from app.shutdown import Shutdown

QUIET_S: Final = 10.0  # longest wait without a sign of life: proxies close connections that stay silent
RECHECK_S: Final = 3.0  # the same with API keys, of which one may be revoked

MayListen = Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Event:
    """Event of a job; its name is `status`, `progress` or `end`."""

    id: str
    name: str
    data: dict[str, Any]


class Listeners:
    """All listeners of one process; `count` is their number now, and `on_count` is told of every change.

    pause_s: longest wait of a listener, after which it asks whether its caller may still listen.
    """

    def __init__(self, url: str, shutdown: Shutdown, most: int, pause_s: float = QUIET_S) -> None:
        self._redis = connect_listener(url, pause_s, most)
        self._shutdown = shutdown
        self._most = most
        self._pause_s = pause_s
        self.count = 0
        self.on_count: Callable[[float], None] = lambda _: None

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count one listener during the `with` block; raises CapacityError(rate_limited) at the limit.

        The check and the count are one step: nothing else runs on the event loop between them.
        """
        if self.count >= self._most:
            raise CapacityError(ErrorCode.RATE_LIMITED, "Too many listeners are connected.", retry_after_s=10)
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def _add(self, number: int) -> None:
        self.count += number
        self.on_count(self.count)

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._redis.aclose()

    async def follow(self, job_id: str, after: str, may_listen: MayListen) -> AsyncIterator[list[Event]]:
        """Yield the events after the event `after` as they happen, and an empty list after every pause without one.

        The caller holds a place. Ends after the event `end`, when the job is deleted, soon after the caller may no
        longer listen, and when this process shuts down. May raise RedisError.
        """
        recheck_at = time.monotonic() + self._pause_s
        while not self._shutdown.has_begun:
            events = await self._events_after(job_id, after, self._pause_s)
            if time.monotonic() >= recheck_at:
                if not await may_listen():
                    return
                recheck_at = time.monotonic() + self._pause_s
            yield events
            if events:
                after = events[-1].id
            if any(event.name == "end" for event in events):
                return
            if not events and not await self._redis.exists(_key(job_id)):
                return

    async def wait(self, job_id: str, after: str, within_s: float, may_listen: MayListen) -> None:
        """Return when an event follows the event `after`, or the job is deleted, or `within_s` seconds have passed.

        Also returns soon after the caller may no longer listen, when this process shuts down, and at once at the limit
        of listeners. May raise RedisError.
        """
        if self.count >= self._most:
            return
        deadline = time.monotonic() + within_s
        with self.place():
            while (left_s := deadline - time.monotonic()) > 0 and not self._shutdown.has_begun:
                if await self._events_after(job_id, after, min(left_s, self._pause_s)):
                    return
                if not await self._redis.exists(_key(job_id)) or not await may_listen():
                    return

    async def _events_after(self, job_id: str, after: str, within_s: float) -> list[Event]:
        streams: Any = None  # the library's type covers answers in a form that this client never asks for
        with self._shutdown.interruptible():
            streams = await self._redis.xread({_key(job_id): after}, block=max(1, int(within_s * 1000)))
        return [_event(*entry) for _, entries in streams or [] for entry in entries]


@contextmanager
def until_client_leaves(request: Request) -> Iterator[anyio.CancelScope]:
    """Run a wait whose answer only the client of the request wants; raises ClientDisconnect as soon as it has left.

    Uvicorn tells the application of a closed connection only if the application asks. Use it in a task of the event
    loop, after the body was read. A wait for a thread does not end by itself: the thread asks the yielded scope.
    """
    with anyio.CancelScope() as wait:
        watch = asyncio.get_running_loop().create_task(_cancel_when_left(request, wait))
        try:
            yield wait
        finally:
            watch.cancel()
    if wait.cancelled_caught:
        raise ClientDisconnect


async def _cancel_when_left(request: Request, wait: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    wait.cancel()


def is_before(event_id: str, other_id: str) -> bool:
    """Return whether an event happened before another event of the same job."""
    return _numbers(event_id) < _numbers(other_id)


def _numbers(event_id: str) -> tuple[int, int]:
    time_ms, number = event_id.split("-")
    return int(time_ms), int(number)


def _key(job_id: str) -> str:
    return Key.EVENTS + job_id


def _event(event_id: str, fields: dict[str, str]) -> Event:
    data: dict[str, Any] = {"attempt": int(fields["attempt"]), "at": _time_of(event_id)}
    if fields["event"] == "progress":
        data |= {"stage": fields["stage"] or None, **json.loads(fields["progress"])}
    else:
        data["status"] = fields["status"]
    if fields["event"] == "end":
        data["error"] = json.loads(fields["error"]) if fields["error"] else None
    return Event(event_id, fields["event"], data)


def _time_of(event_id: str) -> str:
    at = datetime.fromtimestamp(_numbers(event_id)[0] / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
