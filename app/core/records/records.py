"""The record of every job, in Redis: the one truth that API, workers and reapers share.

Moves are scripts (`app.core.records.moves`), so that any number of processes may try the same one. A record is read
back as a `Job`. Nothing here knows of Celery: after `create`, `hand_back` or `reap` the message is sent by
`app.core.housekeeping.reaper` or by who created the job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, cast

import redis
from pydantic import BaseModel

from app.core.errors import CapacityError, ErrorCode, RequestError, ServiceError, error_payload
from app.core.jobs import PRIORITY_LEAD_S, Job, JobInput, JobOptions, JobStatus, Progress, Report, ResultFacts
from app.core.records import moves, queue_moves
from app.core.records.job_hash import job_of_hash
from app.core.settings import Settings

LEASE_S: Final = 10.0  # a dead worker is noticed after this, and within REAP_INTERVAL_S of it
ANNOUNCE_TTL_S: Final = 10.0
_LIST_CHUNK: Final = 100


class Beat(StrEnum):
    """Answer a worker that renews its lease."""

    OK = "ok"
    CANCEL = "cancel"
    LOST = "lost"  # another attempt runs, or the job is gone: stop, publish nothing


class WorkerFacts(BaseModel):
    """What a live worker says of itself."""

    name: str
    pid: int
    device: str
    precision: str
    checkpoint: str
    checkpoint_sha256: str
    version: str


@dataclass(frozen=True)
class Created:
    """Say which job stands for a request; `replayed` where an earlier one with the same key does."""

    job_id: str
    replayed: bool


@dataclass(frozen=True)
class Claim:
    """Say which job a worker got, and the number of the attempt that it now makes."""

    job_id: str
    attempt: int


@dataclass(frozen=True)
class RecordLimits:
    """How long and how often, in the units of the settings."""

    retention_s: int
    max_attempts: int
    max_queued_jobs: int
    max_active_per_owner: int

    @classmethod
    def of(cls, settings: Settings) -> RecordLimits:
        """Take the limits from the settings."""
        return cls(settings.retention_s, settings.max_attempts, settings.max_queued_jobs, settings.max_active_per_key)


class Records:
    """Read and move jobs; every method may raise `redis.RedisError` where Redis does not answer."""

    def __init__(self, client: redis.Redis, limits: RecordLimits) -> None:
        self._redis = client
        self._limits = limits
        scripts = vars(moves) | vars(queue_moves)
        names = [name for name in scripts if name.isupper() and name != "PRELUDE"]
        self._scripts = {name: client.register_script(scripts[name]) for name in names}

    def _move(self, name: str, *arguments: str | int | float) -> Any:
        return self._scripts[name](keys=[], args=list(arguments))

    @property
    def _retention_ms(self) -> int:
        return self._limits.retention_s * 1000

    @property
    def _bounds(self) -> tuple[int, int]:
        return self._limits.max_queued_jobs, self._limits.max_active_per_owner

    # ---- the API's side

    def create(
        self,
        job_id: str,
        owner: str,
        job_input: JobInput,
        options: JobOptions,
        idempotency: tuple[str, str] | None = None,
    ) -> Created:
        """Save a new queued job, or find the one that the same idempotency key (key, fingerprint) made before.

        Raises RequestError(idempotency_conflict) for a key used with another request,
        CapacityError(queue_full, concurrency_limited).
        """
        doc = json.dumps({"input": job_input.model_dump(mode="json"), "options": options.model_dump(mode="json")})
        key, fingerprint = idempotency or (None, "")
        lead_ms = PRIORITY_LEAD_S[options.priority] * 1000
        outcome, found = self._move(
            "CREATE",
            job_id,
            owner,
            doc,
            self._retention_ms,
            lead_ms,
            *self._bounds,
            _idempotency(owner, key),
            fingerprint,
        )
        if outcome == "conflict":
            raise RequestError(ErrorCode.IDEMPOTENCY_CONFLICT, "This Idempotency-Key was used with another request.")
        _raise_refusal(outcome)
        return Created(found, outcome == "replayed")

    def get(self, job_id: str) -> Job | None:
        """Return the job, or None."""
        fields = cast("dict[str, str]", self._redis.hgetall(f"lipsync:job:{job_id}"))
        return job_of_hash(job_id, fields) if "doc" in fields else None

    def page(
        self, owner: str, status: JobStatus | None, limit: int, cursor: int | None
    ) -> tuple[list[Job], int | None]:
        """Return the owner's jobs, newest first, from behind the cursor on, and the next cursor or None."""
        found: list[Job] = []
        last = cursor
        while True:
            upper = "+inf" if last is None else f"({last}"
            rows = cast(
                "list[tuple[str, float]]",
                self._redis.zrevrangebyscore(
                    f"lipsync:owner:{owner}", upper, "-inf", start=0, num=_LIST_CHUNK, withscores=True
                ),
            )
            pipeline = self._redis.pipeline(transaction=False)
            for job_id, _ in rows:
                pipeline.hgetall(f"lipsync:job:{job_id}")
            for (job_id, score), fields in zip(rows, pipeline.execute(), strict=True):
                if "doc" in fields and (status is None or fields["status"] == status):
                    if len(found) == limit:
                        return found, last
                    found.append(job_of_hash(job_id, fields))
                last = int(score)
            if len(rows) < _LIST_CHUNK:
                return found, None

    def queue_positions(self, job_ids: Iterable[str]) -> dict[str, int]:
        """Return the place of each waiting job, from 1, in the order in which workers will take them."""
        asked = list(job_ids)
        places = cast("list[int]", self._move("POSITIONS", *asked)) if asked else []
        return {job_id: place for job_id, place in zip(asked, places, strict=True) if place}

    def queued_count(self) -> int:
        """Return how many jobs wait."""
        return int(self._redis.zcard("lipsync:sent"))

    def check_room(self, owner: str, idempotency_key: str | None = None) -> None:
        """Raise CapacityError(queue_full, concurrency_limited) where no further job of this owner may wait.

        A key that has made a job needs no room: its request is answered with that job.
        """
        _raise_refusal(self._move("ROOM", owner, *self._bounds, _idempotency(owner, idempotency_key)))

    def cancel(self, job_id: str) -> JobStatus | None:
        """End a waiting job, or ask the worker of a running one to stop; return the status after it."""
        status = self._move("CANCEL", job_id, self._retention_ms)
        return JobStatus(status) if status else None

    def retry(self, job_id: str) -> None:
        """Queue a failed or canceled job once more, as a new one is queued.

        Raises RequestError(not_found, retry_refused, result_expired), CapacityError(queue_full, concurrency_limited).
        """
        outcome = self._move("RETRY", job_id, self._retention_ms, *self._bounds)
        _raise_refusal(outcome)
        if outcome == "":
            raise RequestError(ErrorCode.NOT_FOUND, "There is no such job.")
        if outcome == "expired":
            raise RequestError(ErrorCode.RESULT_EXPIRED, "The job's inputs were kept until they expired.")
        if outcome != "ok":
            raise RequestError(ErrorCode.RETRY_REFUSED, f"The job is {outcome}.")

    def delete(self, job_id: str) -> bool:
        """Forget the job in whatever state; a worker that has it loses its lease. False where there was none."""
        return bool(self._move("DELETE", job_id))

    def ping(self) -> None:
        """Raise where Redis does not answer."""
        self._redis.ping()

    def live_workers(self) -> list[WorkerFacts]:
        """Return what each live worker last said of itself."""
        return [WorkerFacts.model_validate_json(text) for text in sorted(self._move("LIVE_WORKERS"))]

    def counts(self) -> dict[str, int]:
        """Return the number of queued and running jobs, and the totals that only grow (`total_<name>`)."""
        totals = cast("dict[str, str]", self._redis.hgetall("lipsync:totals"))
        running = int(self._redis.zcard("lipsync:leases")) + int(self._redis.zcard("lipsync:split"))
        counts = {"queued": self.queued_count(), "running": running}
        return counts | {f"total_{name}": int(number) for name, number in totals.items()}

    # ---- the worker's side

    def announce(self, facts: WorkerFacts) -> None:
        """Say that this worker lives and has its model loaded."""
        self._move("ANNOUNCE", facts.name, facts.model_dump_json(), int(ANNOUNCE_TTL_S * 1000))

    def claim(self, worker: str, claim: str) -> Claim | None:
        """Take the job whose turn it is, under a lease; None where none waits.

        `claim` is a random word: the same one sent twice, because an answer was lost, is one claim.
        """
        taken = self._move("CLAIM", worker, claim, int(LEASE_S * 1000))
        return Claim(taken[0], int(taken[1])) if taken else None

    def beat(self, job_id: str, attempt: int, stage: str, progress: Progress) -> Beat:
        """Renew the lease and publish the progress of this attempt."""
        return Beat(self._move("BEAT", job_id, attempt, int(LEASE_S * 1000), stage, progress.model_dump_json()))

    def succeed(self, job_id: str, attempt: int, result: ResultFacts, report: Report, warnings: Iterable[str]) -> bool:
        """End the job with a result; False where this attempt is no longer the current one."""
        frames, wall_s = result.frames, report.realtime_factor * result.duration_s
        fps = round(frames / wall_s, 2) if wall_s > 0 else 0.0
        done = Progress(percent=100.0, frames_done=frames, frames_total=frames, fps=fps, eta_s=0.0)
        return self._finish(
            job_id,
            attempt,
            JobStatus.SUCCEEDED,
            {
                "result": result.model_dump_json(),
                "report": report.model_dump_json(),
                "warnings": json.dumps(list(warnings)),
                "progress": done.model_dump_json(),
            },
        )

    def fail(self, job_id: str, attempt: int, error: Mapping[str, Any]) -> bool:
        """End the job with an error payload; False where this attempt is no longer the current one."""
        return self._finish(job_id, attempt, JobStatus.FAILED, {"error": json.dumps(error)})

    def end_canceled(self, job_id: str, attempt: int) -> bool:
        """End the job as its caller wished; False where this attempt is no longer the current one."""
        return self._finish(job_id, attempt, JobStatus.CANCELED, {})

    def _finish(self, job_id: str, attempt: int, status: JobStatus, fields: Mapping[str, str]) -> bool:
        flat = [text for pair in fields.items() for text in pair]
        return bool(self._move("FINISH", job_id, attempt, status, self._retention_ms, *flat))

    def hand_back(self, job_id: str, attempt: int) -> bool:
        """Put a running job back into the queue with nothing counted against it."""
        return bool(self._move("HAND_BACK", job_id, attempt))

    def lose(self, job_id: str, attempt: int) -> bool:
        """Call this attempt dead at once, as the reaper would later; False where it is no longer the current one."""
        most = self._limits.max_attempts
        return bool(self._move("LOSE", job_id, attempt, most, self._retention_ms, _lost_payload()))

    def age_s(self, since: datetime) -> float:
        """Return the seconds since a time in a record, by the clock that stamped it."""
        seconds, micros = self._redis.time()
        return seconds + micros / 1e6 - since.timestamp()

    # ---- the reaper's side

    def is_settling(self, outage_s: float, settle_s: float) -> bool:
        """Tell whether leases must be spared; to be asked by each reaper before it reaps.

        They are for `settle_s` after no reaper came by for `outage_s`: Redis was away for their holders as well. Other
        time that passed since the last asking is counted to the jobs whose segments are being done.
        """
        return bool(self._move("SETTLE", int(outage_s * 1000), int(settle_s * 1000)))

    def reap(self) -> dict[str, JobStatus]:
        """Move each job whose lease ended: queued again, or failed with `worker_lost`, or canceled where asked."""
        moved = self._move("REAP", self._limits.max_attempts, self._retention_ms, _lost_payload())
        return {job_id: JobStatus(status) for job_id, status in zip(moved[::2], moved[1::2], strict=True)}

    def take_unsent(self) -> list[str]:
        """Return waiting jobs for which a message has to be sent; each is given to one caller."""
        return list(self._move("TAKE_UNSENT"))

    def overdue(self, older_than_s: float) -> list[str]:
        """Return waiting jobs whose message was sent longer ago than that, the longest first."""
        return list(self._move("OVERDUE", int(older_than_s * 1000)))

    def mark_unsent(self, job_ids: Iterable[str]) -> None:
        """Have the messages of these jobs sent (again) by the next reaper; those no longer waiting are left alone."""
        marks = dict.fromkeys(job_ids, 0)
        if marks:
            self._redis.zadd("lipsync:sent", marks, xx=True)

    def expire(self) -> list[str]:
        """Return jobs whose files have to go now; a record outlives its files by one retention."""
        return list(self._move("EXPIRE", self._retention_ms))

    def keeps_files(self, job_id: str) -> bool:
        """Tell whether the job's files are still promised to anyone."""
        known, expired = cast("list[str | None]", self._redis.hmget(f"lipsync:job:{job_id}", ["status", "expired"]))
        return known is not None and expired is None

    def only_once(self, name: str, every_s: float) -> bool:
        """Tell one of all processes, once in the given time, that it is its turn."""
        return bool(self._redis.set(f"lipsync:turn:{name}", "1", nx=True, px=int(every_s * 1000)))


def _idempotency(owner: str, key: str | None) -> str:
    """Return where a caller's idempotency key is kept; '' for none."""
    if key is None:
        return ""
    digest = hashlib.sha256(f"{owner}\n{key}".encode()).hexdigest()
    return f"lipsync:idem:{digest}"


def _raise_refusal(outcome: str) -> None:
    """Raise what a script's answer means for a job that would be one too many."""
    if outcome == "full":
        raise CapacityError(ErrorCode.QUEUE_FULL, "Too many jobs are waiting.", retry_after_s=30)
    if outcome == "busy":
        raise CapacityError(
            ErrorCode.CONCURRENCY_LIMITED, "Too many of your jobs have not ended yet.", retry_after_s=30
        )


def _lost_payload() -> str:
    lost = ServiceError(ErrorCode.WORKER_LOST, "The worker died each time this job was tried.")
    return json.dumps(error_payload(lost, None))
