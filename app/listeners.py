"""Listeners: calls that wait for events of a job.

Every change of a job writes an event to the job's stream in Redis (`app.core.records.moves`). Events are therefore in
the order in which they happened, and a listener that knows the id of its last event misses none. A listener waits in a
blocking read of Redis, and the number of listeners is limited.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from app.core.errors import CapacityError, ErrorCode
from app.core.records.connection import connect_listener
from app.shutdown import Shutdown

MAX_LISTENERS: Final = 200  # each needs a socket and a connection to Redis; a process may usually open 1024 files
QUIET_S: Final = 10.0  # longest wait without a sign of life: proxies close connections that stay silent


@dataclass(frozen=True)
class Event:
    """Event of a job; its name is `status`, `progress` or `end`."""

    id: str
    name: str
    data: dict[str, Any]


class Listeners:
    """All listeners of one process; `count` is their number now."""

    def __init__(self, url: str, shutdown: Shutdown, most: int = MAX_LISTENERS, quiet_s: float = QUIET_S) -> None:
        self._redis = connect_listener(url, quiet_s, most)
        self._shutdown = shutdown
        self._most = most
        self._quiet_s = quiet_s
        self.count = 0

    @property
    def has_capacity(self) -> bool:
        """Return whether one more listener is allowed."""
        return self.count < self._most

    def check_capacity(self) -> None:
        """Raise CapacityError(rate_limited) if no more listeners are allowed."""
        if not self.has_capacity:
            raise CapacityError(ErrorCode.RATE_LIMITED, "Too many listeners are connected.", retry_after_s=10)

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._redis.aclose()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    async def follow(self, job_id: str, after: str) -> AsyncIterator[list[Event]]:
        """Yield the events after the event `after` as they happen, and an empty list after every quiet_s without one.

        Ends after the event `end`, when the job is deleted, and when this process shuts down. May raise RedisError.
        """
        with self._counted():
            while not self._shutdown.has_begun:
                events = await self._events_after(job_id, after, self._quiet_s)
                yield events
                if events:
                    after = events[-1].id
                if any(event.name == "end" for event in events):
                    return
                if not events and not await self._redis.exists(_key(job_id)):
                    return

    async def wait(self, job_id: str, after: str, within_s: float) -> None:
        """Return when an event follows the event `after`, or the job is deleted, or `within_s` seconds have passed.

        Also returns when this process shuts down. May raise RedisError.
        """
        deadline = time.monotonic() + within_s
        with self._counted():
            while (left_s := deadline - time.monotonic()) > 0 and not self._shutdown.has_begun:
                if await self._events_after(job_id, after, min(left_s, self._quiet_s)):
                    return
                if not await self._redis.exists(_key(job_id)):
                    return

    async def _events_after(self, job_id: str, after: str, within_s: float) -> list[Event]:
        streams: Any = None  # the library's type covers answers in a form that this client never asks for
        with self._shutdown.interruptible():
            streams = await self._redis.xread({_key(job_id): after}, block=max(1, int(within_s * 1000)))
        return [_event(*entry) for _, entries in streams or [] for entry in entries]


def is_before(event_id: str, other_id: str) -> bool:
    """Return whether an event happened before another event of the same job."""
    return _numbers(event_id) < _numbers(other_id)


def _numbers(event_id: str) -> tuple[int, int]:
    time_ms, number = event_id.split("-")
    return int(time_ms), int(number)


def _key(job_id: str) -> str:
    return f"lipsync:events:{job_id}"


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
