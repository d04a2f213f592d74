"""The record of every job, in Redis: the one truth that API, workers and reapers share.

Each change is one Lua script (`app.core.records.lua`), so any number of processes may try the same change. A record is
read back as a `Job`. Nothing here knows of Celery. The message for a new job or a retry is sent by the API, all other
messages by `app.core.housekeeping.reaper`.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, cast

import redis
from pydantic import BaseModel

from app.core.errors import CapacityError, ErrorCode, RequestError, ServiceError, error_payload
from app.core.jobs import PRIORITY_LEAD_S, Job, JobInput, JobOptions, JobStatus, Progress, Report, ResultFacts
from app.core.records.job_hash import job_of_hash
from app.core.records.keys import Key
from app.core.records.lua import Scripts
from app.core.records.speeds import Speeds
from app.core.settings import Settings

LEASE_S: Final = 10.0  # a dead worker is noticed after this time plus at most REAP_INTERVAL_S
LEASE_MS: Final = int(LEASE_S * 1000)
ANNOUNCE_TTL_S: Final = 10.0
_LIST_CHUNK: Final = 100


class Renewal(StrEnum):
    """Answer to an attempt that renews its lease."""

    OK = "ok"
    CANCEL = "cancel"
    LOST = "lost"  # another attempt runs, or the job is gone: stop, publish nothing


class WorkerFacts(BaseModel):
    """Facts that a live worker announces; its name is that of its host and its process, see `worker_name`."""

    name: str
    pid: int
    device: str
    precision: str
    runtime: str = "torch"  # older workers announce none
    checkpoint: str
    checkpoint_sha256: str
    version: str


def worker_name(pid: int) -> str:
    """Return the name of the worker that is a process of this host."""
    return f"{socket.gethostname()}-{pid}"


def pid_of_worker(name: str) -> int | None:
    """Return the process id of a worker with this name, None if it runs on another host."""
    host, _, pid = name.rpartition("-")
    return int(pid) if host == socket.gethostname() and pid.isdecimal() else None


@dataclass(frozen=True)
class Created:
    """Job that answers a request; `replayed` if an earlier request with the same idempotency key made it."""

    job_id: str
    replayed: bool


@dataclass(frozen=True)
class Claim:
    """Job that a worker claimed, and the number of the attempt that begins with it."""

    job_id: str
    attempt: int


@dataclass(frozen=True)
class RecordLimits:
    """Limits on time and number, in the units of the settings."""

    retention_s: int
    max_attempts: int
    max_queued_jobs: int
    max_active_per_owner: int

    @property
    def retention_ms(self) -> int:
        """Return the retention time in the unit of the scripts."""
        return self.retention_s * 1000

    @classmethod
    def of(cls, settings: Settings) -> RecordLimits:
        """Return the limits that the settings give."""
        return cls(settings.retention_s, settings.max_attempts, settings.max_queued_jobs, settings.max_active_per_key)


class Records:
    """Records of jobs, as API and workers need them; every method may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis, limits: RecordLimits) -> None:
        self._redis = client
        self._limits = limits
        self._scripts = Scripts(client)
        self._speeds = Speeds(client)

    # ---- the API's side

    def create(
        self,
        job_id: str,
        owner: str,
        job_input: JobInput,
        options: JobOptions,
        idempotency: tuple[str, str] | None = None,
        max_active: int | None = None,
    ) -> Created:
        """Save a new queued job, or find the job that the same idempotency key (key, fingerprint) made before.

        `max_active` replaces the service's limit on the jobs of one owner.
        Raises RequestError(idempotency_conflict) for a key used with another request,
        CapacityError(queue_full, concurrency_limited).
        """
        key, fingerprint = idempotency or (None, "")
        outcome, found = self._scripts.texts(
            "create",
            job_id=job_id,
            owner=owner,
            doc=job_doc(job_input, options),
            retention_ms=self._limits.retention_ms,
            lead_ms=PRIORITY_LEAD_S[options.priority] * 1000,
            max_queued=self._limits.max_queued_jobs,
            max_active=max_active or self._limits.max_active_per_owner,
            idem=idempotency_name(owner, key),
            fingerprint=fingerprint,
            webhook=options.webhook_url or "",
        )
        return created(outcome, found)

    def get(self, job_id: str) -> Job | None:
        """Return the job, or None."""
        fields = cast("dict[str, str]", self._redis.hgetall(Key.JOB + job_id))
        return job_of_hash(job_id, fields) if "doc" in fields else None

    def page(
        self, owner: str, status: JobStatus | None, limit: int, cursor: int | None
    ) -> tuple[list[Job], int | None]:
        """Return at most `limit` of the owner's jobs behind the cursor, newest first, and the next cursor or None."""
        found: list[Job] = []
        last = cursor
        while True:
            upper = "+inf" if last is None else f"({last}"
            rows = cast(
                "list[tuple[str, float]]",
                self._redis.zrevrangebyscore(
                    Key.OWNER + owner, upper, "-inf", start=0, num=_LIST_CHUNK, withscores=True
                ),
            )
            pipeline = self._redis.pipeline(transaction=False)
            for job_id, _ in rows:
                pipeline.hgetall(Key.JOB + job_id)
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
        places = self._scripts.numbers("positions", job_ids=asked) if asked else []
        return {job_id: place for job_id, place in zip(asked, places, strict=True) if place}

    def queued_count(self) -> int:
        """Return the number of waiting jobs."""
        return int(self._redis.zcard(Key.SENT))

    def check_capacity(self, owner: str, idempotency_key: str | None = None, max_active: int | None = None) -> None:
        """Raise CapacityError(queue_full, concurrency_limited) if no further job of this owner may wait.

        A key that made a job before is never refused: its request is answered with that job. `max_active` replaces the
        service's limit on the jobs of one owner.
        """
        refusal = self._scripts.text(
            "check_capacity",
            owner=owner,
            max_queued=self._limits.max_queued_jobs,
            max_active=max_active or self._limits.max_active_per_owner,
            idem=idempotency_name(owner, idempotency_key),
        )
        _raise_refusal(refusal)

    def cancel(self, job_id: str) -> JobStatus | None:
        """End a waiting job, or ask the worker of a running one to stop; return the new status, None for no job."""
        status = self._scripts.text("cancel", job_id=job_id, retention_ms=self._limits.retention_ms)
        return JobStatus(status) if status else None

    def retry(self, job_id: str, max_active: int | None = None) -> None:
        """Queue a failed or canceled job again, under the same limits as a new job; see `check_capacity`.

        Raises RequestError(not_found, retry_refused, result_expired), CapacityError(queue_full, concurrency_limited).
        """
        outcome = self._scripts.text(
            "retry",
            job_id=job_id,
            retention_ms=self._limits.retention_ms,
            max_queued=self._limits.max_queued_jobs,
            max_active=max_active or self._limits.max_active_per_owner,
        )
        _raise_refusal(outcome)
        if outcome == "":
            raise RequestError(ErrorCode.NOT_FOUND, "There is no such job.")
        if outcome == "expired":
            raise RequestError(ErrorCode.RESULT_EXPIRED, "The job's inputs were kept until they expired.")
        if outcome != "ok":
            raise RequestError(ErrorCode.RETRY_REFUSED, f"The job is {outcome}.")

    def delete(self, job_id: str) -> bool:
        """Forget the job in any state; its worker loses the lease. Return False for no such job."""
        return bool(self._scripts.text("delete", job_id=job_id, retention_ms=self._limits.retention_ms))

    def ping(self) -> None:
        """Raise if Redis does not answer."""
        self._redis.ping()

    def live_workers(self) -> list[WorkerFacts]:
        """Return the latest announcement of each live worker."""
        return [WorkerFacts.model_validate_json(text) for text in sorted(self._scripts.texts("live_workers"))]

    def counts(self) -> dict[str, int]:
        """Return the number of queued and running jobs, and the totals that only grow (`total_<name>`)."""
        totals = cast("dict[str, str]", self._redis.hgetall(Key.TOTALS))
        running = int(self._redis.zcard(Key.LEASES)) + int(self._redis.zcard(Key.SPLIT))
        counts = {"queued": self.queued_count(), "running": running}
        return counts | {f"total_{name}": int(number) for name, number in totals.items()}

    def time_ms(self) -> int:
        """Return the time of Redis in milliseconds."""
        seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds // 1000

    def announced_since(self, at_ms: int) -> list[str]:
        """Return the names of the workers whose latest announcement was made at this time of Redis, or later."""
        found = self._redis.zrange(Key.WORKERS, at_ms + int(ANNOUNCE_TTL_S * 1000), "+inf", byscore=True)
        return cast("list[str]", found)

    # ---- the worker's side

    def announce(self, facts: WorkerFacts) -> None:
        """Record for ANNOUNCE_TTL_S that this worker is alive and has its network loaded."""
        live_ms = int(ANNOUNCE_TTL_S * 1000)
        self._scripts.flag("announce", worker=facts.name, facts=facts.model_dump_json(), live_ms=live_ms)

    def claim(self, worker: str, claim: str) -> Claim | None:
        """Take the job whose turn it is, under a lease; return None if none waits.

        `claim` is a random text: the same one sent twice, because an answer was lost, is one claim.
        """
        taken = self._scripts.texts("claim", worker=worker, claim=claim, lease_ms=LEASE_MS)
        return Claim(taken[0], int(taken[1])) if taken else None

    def renew(self, job_id: str, attempt: int, stage: str, progress: Progress) -> Renewal:
        """Renew the lease of this attempt and publish its progress."""
        answer = self._scripts.text(
            "renew",
            job_id=job_id,
            attempt=attempt,
            lease_ms=LEASE_MS,
            stage=stage,
            progress=progress.model_dump_json(),
        )
        return Renewal(answer)

    def succeed(self, job_id: str, attempt: int, result: ResultFacts, report: Report, warnings: Iterable[str]) -> bool:
        """End the job with a result; return False if this attempt is no longer the current one."""
        frames, wall_s = result.frames, report.realtime_factor * result.duration_s
        fps = round(frames / wall_s, 2) if wall_s > 0 else 0.0
        done = Progress(percent=100.0, frames_done=frames, frames_total=frames, fps=fps, eta_s=0.0)
        is_done = self._finish(
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
        if is_done:
            self._speeds.record(result.width * result.height, frames, wall_s)
        return is_done

    def fail(self, job_id: str, attempt: int, error: Mapping[str, Any]) -> bool:
        """End the job with an error payload; return False if this attempt is no longer the current one."""
        return self._finish(job_id, attempt, JobStatus.FAILED, {"error": json.dumps(error)})

    def end_canceled(self, job_id: str, attempt: int) -> bool:
        """End the job as canceled; return False if this attempt is no longer the current one."""
        return self._finish(job_id, attempt, JobStatus.CANCELED, {})

    def _finish(self, job_id: str, attempt: int, status: JobStatus, fields: Mapping[str, str]) -> bool:
        return self._scripts.flag(
            "finish",
            job_id=job_id,
            attempt=attempt,
            status=status,
            retention_ms=self._limits.retention_ms,
            fields=fields,
        )

    def hand_back(self, job_id: str, attempt: int) -> bool:
        """Queue a running job again, with nothing counted against it."""
        return self._scripts.flag("hand_back", job_id=job_id, attempt=attempt)

    def lose(self, job_id: str, attempt: int) -> bool:
        """Count this attempt as dead at once, as the reaper would later; return False if it is not the current one."""
        return self._scripts.flag(
            "lose",
            job_id=job_id,
            attempt=attempt,
            max_losses=self._limits.max_attempts,
            retention_ms=self._limits.retention_ms,
            error=worker_lost_error("this job"),
        )

    def age_s(self, since: datetime) -> float:
        """Return the seconds since a time in a record, by the clock of Redis, which gave that time."""
        seconds, micros = self._redis.time()
        return seconds + micros / 1e6 - since.timestamp()


def worker_lost_error(tried: str) -> str:
    """Return the error payload, as JSON, of a job that fails because too many attempts died."""
    lost = ServiceError(ErrorCode.WORKER_LOST, f"The worker died each time {tried} was tried.")
    return json.dumps(error_payload(lost, None))


def idempotency_name(owner: str, key: str | None) -> str:
    """Return the name of the Redis key for a caller's idempotency key; '' for none."""
    if key is None:
        return ""
    return Key.IDEMPOTENCY + hashlib.sha256(f"{owner}\n{key}".encode()).hexdigest()


def job_doc(job_input: JobInput, options: JobOptions) -> str:
    """Return the part of a record that never changes, as JSON."""
    return json.dumps({"input": job_input.to_record(), "options": options.model_dump(mode="json")})


def created(outcome: str, found: str) -> Created:
    """Return what a script that creates a job or a batch answered: an outcome and an id.

    Raises RequestError(idempotency_conflict), CapacityError(queue_full, concurrency_limited).
    """
    if outcome == "conflict":
        raise RequestError(ErrorCode.IDEMPOTENCY_CONFLICT, "This Idempotency-Key was used with another request.")
    _raise_refusal(outcome)
    return Created(found, outcome == "replayed")


def _raise_refusal(outcome: str) -> None:
    """Raise the CapacityError that a script's answer stands for, if it is a refusal."""
    if outcome == "full":
        raise CapacityError(ErrorCode.QUEUE_FULL, "Too many jobs are waiting.", retry_after_s=30)
    if outcome == "busy":
        raise CapacityError(
            ErrorCode.CONCURRENCY_LIMITED, "Too many of your jobs have not ended yet.", retry_after_s=30
        )
