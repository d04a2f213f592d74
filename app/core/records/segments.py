"""The segments of a long job: claimed, leased and fenced one by one, by any number of workers at once.

A job that is claimed and turns out long is planned and split. Each segment is then a Celery task of its own, and so is
the join that follows the last of them. Celery delivers; the record decides. A chord would do the same with a counter in
a result backend, which a worker that dies between its work and its count, or a message delivered twice, puts wrong for
good. Here the count is a move of the record like any other, so what finished stays finished and nothing counts twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import redis

from app.core.errors import ErrorCode, ServiceError, error_payload
from app.core.jobs import JobStatus
from app.core.records import segment_moves
from app.core.records.records import LEASE_S, Beat, RecordLimits

JOIN: Final = "join"
_LEASE_MS: Final = int(LEASE_S * 1000)


@dataclass(frozen=True)
class SplitFacts:
    """Into what a job was split: the attempt whose plan holds, how many segments, frames in all."""

    plan: int
    segments: int
    frames: int


def plan_names(attempt: int) -> tuple[str, str]:
    """Return the names in the storage of the samples and the decisions of an attempt's plan."""
    return f"voice-{attempt}.s16", f"plan-{attempt}.npz"


def segment_names(number: int, attempt: int) -> tuple[str, str]:
    """Return the names in the storage of what an attempt at a segment made: pictures and facts."""
    return f"segment-{number}-{attempt}.mp4", f"segment-{number}-{attempt}.json"


class Segments:
    """Read and move the segments of jobs; every method may raise `redis.RedisError` where Redis does not answer."""

    def __init__(self, client: redis.Redis, limits: RecordLimits) -> None:
        self._redis = client
        self._limits = limits
        names = [name for name in vars(segment_moves) if name.isupper() and "PRELUDE" not in name]
        self._scripts = {name: client.register_script(getattr(segment_moves, name)) for name in names}

    def _move(self, name: str, *arguments: str | int | float) -> Any:
        return self._scripts[name](keys=[], args=list(arguments))

    @property
    def _retention_ms(self) -> int:
        return self._limits.retention_s * 1000

    def split(self, job_id: str, attempt: int, facts: SplitFacts) -> bool:
        """Give up the job's lease and let its segments be claimed, those alone that are not done yet.

        False where this attempt is no longer the current one, or its job was canceled meanwhile and so has ended now.
        """
        counts = (facts.plan, facts.segments, facts.frames)
        return bool(self._move("SPLIT", job_id, attempt, *counts, self._retention_ms))

    def facts(self, job_id: str) -> SplitFacts | None:
        """Return into what the job was split, by this attempt or one before, or None."""
        names = ["plan", "segments", "frames_total"]
        values = cast("list[str | None]", self._redis.hmget(f"lipsync:job:{job_id}", names))
        return None if None in values else SplitFacts(*(int(value or 0) for value in values))

    def attempts(self, job_id: str, segments: int) -> list[int]:
        """Return the number of the attempt that did each segment, or last tried to."""
        names = [f"{number}:attempt" for number in range(segments)]
        values = cast("list[str | None]", self._redis.hmget(f"lipsync:segments:{job_id}", names))
        return [int(value or 0) for value in values]

    def claim(self, job_id: str, number: int, worker: str, claim: str) -> int | None:
        """Take a waiting segment under a lease; return its attempt, or None where there is nothing to take."""
        return int(self._move("CLAIM_SEGMENT", job_id, number, worker, claim, _LEASE_MS)) or None

    def beat(self, job_id: str, number: int, attempt: int, frames_done: int) -> Beat:
        """Renew the lease of a segment and count its frames."""
        return Beat(self._move("BEAT_SEGMENT", job_id, number, attempt, _LEASE_MS, frames_done))

    def finish(self, job_id: str, number: int, attempt: int, frames: int) -> bool:
        """Call a segment done; False where this attempt is no longer the current one."""
        return bool(self._move("FINISH_SEGMENT", job_id, number, attempt, frames))

    def fail(self, job_id: str, number: int, attempt: int, error: Mapping[str, Any]) -> bool:
        """End the whole job with an error payload; False where this attempt is no longer the current one."""
        return bool(self._move("FAIL_SEGMENT", job_id, number, attempt, self._retention_ms, json.dumps(error)))

    def hand_back(self, job_id: str, number: int, attempt: int) -> bool:
        """Let a segment be claimed again, with nothing counted against it."""
        return bool(self._move("HAND_BACK_SEGMENT", job_id, number, attempt))

    def lose(self, job_id: str, number: int, attempt: int) -> bool:
        """Call this attempt dead at once, as the reaper would later; False where it is no longer the current one."""
        most, retention_ms = self._limits.max_attempts, self._retention_ms
        return bool(self._move("LOSE_SEGMENT", job_id, number, attempt, most, retention_ms, _lost_payload()))

    def claim_join(self, job_id: str, worker: str, claim: str) -> int | None:
        """Take the job's own lease to join its segments; return the job's attempt, or None where it is not due."""
        return int(self._move("CLAIM_JOIN", job_id, worker, claim, _LEASE_MS)) or None

    # ---- the reaper's side

    def reap(self) -> dict[str, JobStatus]:
        """Let each segment whose lease ended be claimed again, or fail its job; return the jobs' status by unit."""
        moved = self._move("REAP_SEGMENTS", self._limits.max_attempts, self._retention_ms, _lost_payload())
        return {unit: JobStatus(status) for unit, status in zip(moved[::2], moved[1::2], strict=True)}

    def end_slow(self, run_timeout_s: float) -> list[str]:
        """Fail the split jobs whose segments were being done for longer than that, all together; return their ids."""
        slow = ServiceError(ErrorCode.RUN_TIMEOUT, f"The job took longer than {run_timeout_s:g} s.")
        payload = json.dumps(error_payload(slow, None))
        return list(self._move("REAP_SLOW", self._retention_ms, int(run_timeout_s * 1000), payload))

    def take_unsent(self) -> list[str]:
        """Return units (`<id>.<number>`, `<id>.join`) whose message has to be sent; each is given to one caller."""
        return list(self._move("TAKE_UNSENT_SEGMENTS"))

    def overdue(self, older_than_s: float) -> list[str]:
        """Return units whose message was sent longer ago than that and that nobody claimed."""
        return list(self._move("OVERDUE_SEGMENTS", int(older_than_s * 1000)))

    def mark_unsent(self, units: Iterable[str]) -> None:
        """Have the messages of these units sent (again) by the next reaper; those no longer waiting are left alone."""
        marks = dict.fromkeys(units, 0)
        if marks:
            self._redis.zadd("lipsync:segment_sent", marks, xx=True)


def _lost_payload() -> str:
    lost = ServiceError(ErrorCode.WORKER_LOST, "The worker died each time a part of this job was tried.")
    return json.dumps(error_payload(lost, None))
