"""Who holds what, read from the records: how long it takes from a death until what was held can be claimed again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import redis

from tests.chaos.background import Background


@dataclass(frozen=True)
class Held:
    """A job (segment None) or a segment of one, and the attempt that holds its lease."""

    job_id: str
    segment: str | None
    attempt: str


@dataclass(frozen=True)
class Death:
    """A holder that was killed, and how long until its attempt was over in the records."""

    victim: str
    seconds: float


def held_by(client: redis.Redis, pids: Iterable[int]) -> list[Held]:
    """Return what pool processes of this host hold; raises redis.RedisError."""
    names = {f"{socket.gethostname()}-{pid}" for pid in pids}
    held = []
    for job_id in cast("list[str]", client.zrange("lipsync:leases", 0, -1)):
        worker, attempt = cast("list[Any]", client.hmget(f"lipsync:job:{job_id}", ["worker", "attempt"]))
        if worker in names:
            held.append(Held(job_id, None, str(attempt)))
    for unit in cast("list[str]", client.zrange("lipsync:segment_leases", 0, -1)):
        job_id, _, number = unit.rpartition(".")
        fields = [f"{number}:worker", f"{number}:attempt"]
        worker, attempt = cast("list[Any]", client.hmget(f"lipsync:segments:{job_id}", fields))
        if worker in names:
            held.append(Held(job_id, number, str(attempt)))
    return held


class DeathWatch(Background):
    """Follow what the dead held until it is given back; what they had just finished does not count."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__("deaths")
        self._client = client
        self._open: list[tuple[str, Held, float]] = []
        self._lock = threading.Lock()
        self.deaths: list[Death] = []

    def add(self, victim: str, held: Iterable[Held], killed_at: float) -> None:
        """Follow what a victim held when it was killed (monotonic seconds)."""
        with self._lock:
            self._open += [(victim, one, killed_at) for one in held]

    def run(self) -> None:
        """Look at what is still followed."""
        while not self.stop.wait(0.1):
            with self._lock:
                waiting = list(self._open)
            for entry in waiting:
                victim, held, killed_at = entry
                try:
                    ended = self._ended(held)
                except redis.RedisError:
                    break
                if ended is None:
                    continue
                with self._lock:
                    self._open.remove(entry)
                    if ended:
                        self.deaths.append(Death(victim, time.monotonic() - killed_at))

    def _ended(self, held: Held) -> bool | None:
        """Return True where the attempt was given up on, False where it had finished, None where it still holds."""
        names = ["status", "attempt"]
        status, attempt = cast("list[Any]", self._client.hmget(f"lipsync:job:{held.job_id}", names))
        if held.segment is None:
            if status == "succeeded":
                return bool(attempt != held.attempt)
            if status != "running" or attempt != held.attempt:
                return True
            return False if self._client.zscore("lipsync:split", held.job_id) is not None else None
        names = [f"{held.segment}:state", f"{held.segment}:attempt"]
        state, attempt = cast("list[Any]", self._client.hmget(f"lipsync:segments:{held.job_id}", names))
        if attempt != held.attempt or state == "waiting":
            return True
        return False if state == "done" or status != "running" else None
