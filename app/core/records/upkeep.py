"""The changes of the records that reaper and sweeper make, for jobs and for segments.

A unit is a segment (`<job id>.<number>`) or the join of a job (`<job id>.join`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import cast

import redis

from app.core.errors import ErrorCode, ServiceError, error_payload
from app.core.jobs import JobStatus
from app.core.records.keys import Key
from app.core.records.lua import Scripts
from app.core.records.records import RecordLimits, worker_lost_error


class Upkeep:
    """Repairs and expiry of the records; every method may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis, limits: RecordLimits) -> None:
        self._redis = client
        self._limits = limits
        self._scripts = Scripts(client)

    def claim_interval(self, name: str, interval_s: float) -> bool:
        """Return True for the first process that asks within the interval, False for all others.

        The process that got True does the named step. So a step that every process could do is done once per interval.
        """
        return bool(self._redis.set(Key.INTERVAL + name, "1", nx=True, px=int(interval_s * 1000)))

    # ---- leases

    def check_outage(self, outage_s: float, settle_s: float) -> bool:
        """Record that a reaper came by; return whether no lease may be called dead now.

        When no reaper came by for `outage_s`, Redis was unavailable for the holders of leases as well: they get
        `settle_s` to renew their leases. A shorter time since the last visit is counted for each job of which a segment
        is being done. Every reaper has to call this before it reaps.
        """
        return self._scripts.flag("check_outage", outage_ms=int(outage_s * 1000), settle_ms=int(settle_s * 1000))

    def reap(self) -> dict[str, JobStatus]:
        """Count each attempt at a job whose lease ended as dead; return the status of each such job after it.

        The job is queued again, or canceled if that was asked, or failed with `worker_lost` after too many losses.
        """
        moved = self._scripts.texts(
            "reap",
            max_losses=self._limits.max_attempts,
            retention_ms=self._limits.retention_ms,
            error=worker_lost_error("this job"),
        )
        return _statuses(moved)

    def reap_segments(self) -> dict[str, JobStatus]:
        """Count each attempt at a segment whose lease ended as dead; return the status of its job by unit.

        The segment can be claimed again, or its job failed with `worker_lost` after too many losses.
        """
        moved = self._scripts.texts(
            "reap_segments",
            max_losses=self._limits.max_attempts,
            retention_ms=self._limits.retention_ms,
            error=worker_lost_error("a part of this job"),
        )
        return _statuses(moved)

    def end_slow(self, run_timeout_s: float) -> list[str]:
        """Fail each split job whose segments were being done for longer than this; return the ids of these jobs."""
        slow = ServiceError(ErrorCode.RUN_TIMEOUT, f"The job took longer than {run_timeout_s:g} s.")
        return self._scripts.texts(
            "end_slow",
            max_ms=int(run_timeout_s * 1000),
            retention_ms=self._limits.retention_ms,
            error=json.dumps(error_payload(slow, None)),
        )

    # ---- messages

    def take_unsent(self) -> list[str]:
        """Return waiting jobs for which a message has to be sent; each is returned to one caller only."""
        return self._scripts.texts("take_unsent")

    def take_unsent_units(self) -> list[str]:
        """Return units for which a message has to be sent; each is returned to one caller only."""
        return self._scripts.texts("take_unsent_segments")

    def overdue(self, older_than_s: float) -> list[str]:
        """Return waiting jobs whose message was sent longer ago than this, the oldest first."""
        return self._scripts.texts("overdue", older_than_ms=int(older_than_s * 1000))

    def overdue_units(self, older_than_s: float) -> list[str]:
        """Return units that nobody claimed and whose message was sent longer ago than this, the oldest first."""
        return self._scripts.texts("overdue_segments", older_than_ms=int(older_than_s * 1000))

    def count_sent(self) -> int:
        """Return the number of waiting jobs for which a message was sent."""
        return int(self._redis.zcount(Key.SENT, "(0", "+inf"))

    def count_sent_units(self) -> int:
        """Return the number of units for which a message was sent and that nobody claimed."""
        return int(self._redis.zcount(Key.SEGMENT_SENT, "(0", "+inf"))

    def mark_unsent(self, job_ids: Iterable[str]) -> None:
        """Let the next reaper send messages for these jobs (again), except for those that no longer wait."""
        self._mark_unsent(Key.SENT, job_ids)

    def mark_unsent_units(self, units: Iterable[str]) -> None:
        """Let the next reaper send the messages of these units (again), except of those that no longer wait."""
        self._mark_unsent(Key.SEGMENT_SENT, units)

    def _mark_unsent(self, key: Key, names: Iterable[str]) -> None:
        marks = dict.fromkeys(names, 0)
        if marks:
            self._redis.zadd(key, marks, xx=True)

    # ---- expiry

    def expire(self) -> list[str]:
        """Return jobs whose files have to be removed now; a record outlives its files by one retention time."""
        return self._scripts.texts("expire", retention_ms=self._limits.retention_ms)

    def expire_uploads(self) -> list[str]:
        """Return uploads whose files have to be removed now; each is returned to one caller only."""
        return self._scripts.texts("expire_uploads")

    def keeps_files(self, job_id: str) -> bool:
        """Return whether the files of the job are still needed: it is known and has not expired."""
        known, expired = cast("list[str | None]", self._redis.hmget(Key.JOB + job_id, ["status", "expired"]))
        return known is not None and expired is None


def _statuses(moved: list[str]) -> dict[str, JobStatus]:
    """Return a script's answer (name, status, name, status, ...) as a table."""
    return {name: JobStatus(status) for name, status in zip(moved[::2], moved[1::2], strict=True)}
