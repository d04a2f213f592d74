"""Follow jobs as they change: any number of listeners up to a bound, each asleep in Redis until its job has news.

The scripts that change a job write its stream (`app.core.records.lua`), so news are in the order in which things
happened, and whoever knows the last event it saw misses none.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from app.core.errors import CapacityError, ErrorCode
from app.core.records.connection import connect_listener
from app.core.records.keys import Key
from app.shutdown import Shutdown

MAX_LISTENERS: Final = 200  # a socket and a connection to Redis each, within the usual 1024 files of a process
QUIET_S: Final = 10.0  # how long a listener sleeps at most: proxies cut a line on which nothing comes


@dataclass(frozen=True)
class Event:
    """One thing that happened to a job: `status`, `progress` or `end`."""

    id: str
    name: str
    data: dict[str, Any]


class Listeners:
    """Read the events of jobs for the calls of one process."""

    def __init__(self, url: str, shutdown: Shutdown, most: int = MAX_LISTENERS, quiet_s: float = QUIET_S) -> None:
        self._redis = connect_listener(url, quiet_s, most)
        self._shutdown = shutdown
        self._most = most
        self._quiet_s = quiet_s
        self.count = 0

    @property
    def has_room(self) -> bool:
        """Tell whether one more may listen."""
        return self.count < self._most

    def check_room(self) -> None:
        """Raise CapacityError(rate_limited) where no more may listen."""
        if not self.has_room:
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
        """Yield what happens after an event, and an empty list whenever nothing did for a while.

        Ends behind `end`, and where the job was deleted or this process is about to end. May raise RedisError.
        """
        with self._counted():
            while not self._shutdown.has_begun:
                news = await self._news(job_id, after, self._quiet_s)
                yield news
                if news:
                    after = news[-1].id
                if any(event.name == "end" for event in news):
                    return
                if not news and not await self._redis.exists(_key(job_id)):
                    return

    async def wait(self, job_id: str, after: str, within_s: float) -> None:
        """Return when something happened after an event or the job is gone, at the latest after that time.

        May raise RedisError.
        """
        deadline = time.monotonic() + within_s
        with self._counted():
            while (left_s := deadline - time.monotonic()) > 0 and not self._shutdown.has_begun:
                if await self._news(job_id, after, min(left_s, self._quiet_s)):
                    return
                if not await self._redis.exists(_key(job_id)):
                    return

    async def _news(self, job_id: str, after: str, within_s: float) -> list[Event]:
        streams: Any = None
        with self._shutdown.breaks_off():
            streams = await self._redis.xread({_key(job_id): after}, block=max(1, int(within_s * 1000)))
        if not streams:
            return []
        return [_event(*entry) for entry in cast("list[tuple[str, dict[str, str]]]", streams[0][1])]


def is_before(event_id: str, other_id: str) -> bool:
    """Tell whether an event came before another of the same job."""
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
