"""The segments of a long job: each is claimed, leased and fenced by itself, by any number of workers at once.

The attempt that claims a long job plans it and splits it. Each segment is then a Celery task of its own, and so is the
join that follows the last segment. Celery delivers the tasks; the record decides which attempt may do them. A Celery
chord would count finished segments in a result backend. This count becomes wrong for good when a worker dies between
its work and its count, or when a message is delivered twice. Here the script that finishes a segment also counts it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import redis

from app.core.records.keys import Key
from app.core.records.lua import Scripts
from app.core.records.records import LEASE_MS, RecordLimits, Renewal, worker_lost_error

JOIN: Final = "join"


@dataclass(frozen=True)
class SplitFacts:
    """Plan of a split job: the attempt that made it, the number of segments and of frames."""

    plan: int
    segments: int
    frames: int


def plan_names(attempt: int) -> tuple[str, str]:
    """Return the names in the storage of the sound and the decisions of an attempt's plan."""
    return f"sound-{attempt}.bin", f"plan-{attempt}.npz"


def segment_names(number: int, attempt: int) -> tuple[str, str]:
    """Return the names in the storage of the pictures and the facts that an attempt at a segment made."""
    return f"segment-{number}-{attempt}.mp4", f"segment-{number}-{attempt}.json"


class Segments:
    """Records of the segments of split jobs; every method may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis, limits: RecordLimits) -> None:
        self._redis = client
        self._limits = limits
        self._scripts = Scripts(client)

    def split(self, job_id: str, attempt: int, facts: SplitFacts) -> bool:
        """Give up the job's lease and let its segments be claimed, without those that are done already.

        Return False if this attempt is no longer the current one. Also return False if the job was to be canceled: then
        it has ended now.
        """
        return self._scripts.flag(
            "split",
            job_id=job_id,
            attempt=attempt,
            plan=facts.plan,
            segments=facts.segments,
            frames=facts.frames,
            retention_ms=self._limits.retention_ms,
        )

    def facts(self, job_id: str) -> SplitFacts | None:
        """Return the plan by which this attempt, or one before, split the job; None if none did."""
        names = ["plan", "segments", "frames_total"]
        values = cast("list[str | None]", self._redis.hmget(Key.JOB + job_id, names))
        return None if None in values else SplitFacts(*(int(value or 0) for value in values))

    def attempts(self, job_id: str, segments: int) -> list[int]:
        """Return the number of the latest attempt at each segment; of a finished segment it is the one that did it."""
        names = [f"{number}:attempt" for number in range(segments)]
        values = cast("list[str | None]", self._redis.hmget(Key.SEGMENTS + job_id, names))
        return [int(value or 0) for value in values]

    def claim(self, job_id: str, number: int, worker: str, claim: str) -> int | None:
        """Take a waiting segment under a lease; return the number of its attempt, None if it does not wait.

        `claim` is a random text: the same one sent twice, because an answer was lost, is one claim.
        """
        attempt = self._scripts.number(
            "claim_segment", job_id=job_id, number=number, worker=worker, claim=claim, lease_ms=LEASE_MS
        )
        return attempt or None

    def renew(self, job_id: str, number: int, attempt: int, frames_done: int) -> Renewal:
        """Renew the lease of a segment and count its frames."""
        answer = self._scripts.text(
            "renew_segment", job_id=job_id, number=number, attempt=attempt, lease_ms=LEASE_MS, frames_done=frames_done
        )
        return Renewal(answer)

    def finish(self, job_id: str, number: int, attempt: int, frames: int) -> bool:
        """Mark a segment as done; return False if this attempt is no longer the current one."""
        return self._scripts.flag("finish_segment", job_id=job_id, number=number, attempt=attempt, frames=frames)

    def fail(self, job_id: str, number: int, attempt: int, error: Mapping[str, Any]) -> bool:
        """End the whole job with an error payload; return False if this attempt is no longer the current one."""
        return self._scripts.flag(
            "fail_segment",
            job_id=job_id,
            number=number,
            attempt=attempt,
            retention_ms=self._limits.retention_ms,
            error=json.dumps(error),
        )

    def hand_back(self, job_id: str, number: int, attempt: int) -> bool:
        """Let a segment be claimed again, with nothing counted against it."""
        return self._scripts.flag("hand_back_segment", job_id=job_id, number=number, attempt=attempt)

    def lose(self, job_id: str, number: int, attempt: int) -> bool:
        """Count this attempt as dead at once, as the reaper would later; return False if it is not the current one."""
        return self._scripts.flag(
            "lose_segment",
            job_id=job_id,
            number=number,
            attempt=attempt,
            max_losses=self._limits.max_attempts,
            retention_ms=self._limits.retention_ms,
            error=worker_lost_error("a part of this job"),
        )

    def claim_join(self, job_id: str, worker: str, claim: str) -> int | None:
        """Take the job's own lease, to join its segments; return the job's attempt, None if the join is not due."""
        attempt = self._scripts.number("claim_join", job_id=job_id, worker=worker, claim=claim, lease_ms=LEASE_MS)
        return attempt or None
