"""Leases of killed processes, read from the records: the time from a kill until the work can be claimed again."""

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
class Lease:
    """Lease of one attempt at a job, or at a segment of a job (None: the whole job)."""

    job_id: str
    segment: str | None
    attempt: str


@dataclass(frozen=True)
class Requeue:
    """End of a lease whose holder was killed: the kind of victim, and the seconds from the kill until the end."""

    victim: str
    seconds: float


def leases_of(client: redis.Redis, pids: Iterable[int]) -> list[Lease]:
    """Return the leases of pool processes of this host; raises redis.RedisError."""
    names = {f"{socket.gethostname()}-{pid}" for pid in pids}
    leases = []
    for job_id in cast("list[str]", client.zrange("lipsync:leases", 0, -1)):
        worker, attempt = cast("list[Any]", client.hmget(f"lipsync:job:{job_id}", ["worker", "attempt"]))
        if worker in names:
            leases.append(Lease(job_id, None, str(attempt)))
    for unit in cast("list[str]", client.zrange("lipsync:segment_leases", 0, -1)):
        job_id, _, number = unit.rpartition(".")
        fields = [f"{number}:worker", f"{number}:attempt"]
        worker, attempt = cast("list[Any]", client.hmget(f"lipsync:segments:{job_id}", fields))
        if worker in names:
            leases.append(Lease(job_id, number, str(attempt)))
    return leases


class RequeueWatch(Background):
    """Watch of leases whose holders were killed; a lease whose work had just finished does not count."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__("requeues")
        self._client = client
        self._open: list[tuple[str, Lease, float]] = []
        self._lock = threading.Lock()
        self.requeues: list[Requeue] = []

    def add(self, victim: str, leases: Iterable[Lease], killed_at: float) -> None:
        """Watch the leases that a victim held when it was killed (monotonic seconds)."""
        with self._lock:
            self._open += [(victim, lease, killed_at) for lease in leases]

    def run(self) -> None:
        """Check the watched leases ten times a second."""
        while not self.stop.wait(0.1):
            with self._lock:
                waiting = list(self._open)
            for entry in waiting:
                victim, lease, killed_at = entry
                try:
                    requeued = self._is_requeued(lease)
                except redis.RedisError:
                    break
                if requeued is None:
                    continue
                with self._lock:
                    self._open.remove(entry)
                    if requeued:
                        self.requeues.append(Requeue(victim, time.monotonic() - killed_at))

    def _is_requeued(self, lease: Lease) -> bool | None:
        """Return True if the attempt was given up, False if it had finished, None if it still has the lease."""
        names = ["status", "attempt"]
        status, attempt = cast("list[Any]", self._client.hmget(f"lipsync:job:{lease.job_id}", names))
        if lease.segment is None:
            if status == "succeeded":
                return bool(attempt != lease.attempt)
            if status != "running" or attempt != lease.attempt:
                return True
            return False if self._client.zscore("lipsync:split", lease.job_id) is not None else None
        names = [f"{lease.segment}:state", f"{lease.segment}:attempt"]
        state, attempt = cast("list[Any]", self._client.hmget(f"lipsync:segments:{lease.job_id}", names))
        if attempt != lease.attempt or state == "waiting":
            return True
        return False if state == "done" or status != "running" else None
