"""Batches in Redis: jobs that are created together, or not at all."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import redis

from app.core.jobs import PRIORITY_LEAD_S, TERMINAL, JobInput, JobOptions
from app.core.records.keys import Key
from app.core.records.lua import Scripts
from app.core.records.records import Created, RecordLimits, created, idempotency_name, job_doc

DELETED = "deleted"


@dataclass(frozen=True)
class NewJob:
    """Job that is to be created: its id, the facts of its files, and its options."""

    id: str
    input: JobInput
    options: JobOptions


@dataclass(frozen=True)
class Batch:
    """Jobs that were created together. statuses: status of each job by id, `deleted` for a job that is gone."""

    id: str
    owner: str
    created_at: datetime
    statuses: dict[str, str]

    @property
    def has_ended(self) -> bool:
        """Return whether no job waits or runs."""
        return all(status in (*TERMINAL, DELETED) for status in self.statuses.values())

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of jobs by status."""
        return dict(Counter(self.statuses.values()))


class Batches:
    """Records of batches; every method may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis, limits: RecordLimits) -> None:
        self._redis = client
        self._limits = limits
        self._scripts = Scripts(client)

    def create(
        self,
        batch_id: str,
        owner: str,
        jobs: list[NewJob],
        webhook_url: str | None,
        idempotency: tuple[str, str] | None = None,
        max_active: int | None = None,
    ) -> Created:
        """Save a batch and its queued jobs, whose messages the next reaper sends; see `Records.create`."""
        key, fingerprint = idempotency or (None, "")
        outcome, found = self._scripts.texts(
            "create_batch",
            batch_id=batch_id,
            owner=owner,
            jobs=[json.dumps(_facts(job)) for job in jobs],
            webhook=webhook_url or "",
            retention_ms=self._limits.retention_ms,
            max_queued=self._limits.max_queued_jobs,
            max_active=max_active or self._limits.max_active_per_owner,
            idem=idempotency_name(owner, key),
            fingerprint=fingerprint,
        )
        return created(outcome, found)

    def get(self, batch_id: str) -> Batch | None:
        """Return the batch as it is now, or None."""
        fields = cast("dict[str, str]", self._redis.hgetall(Key.BATCH + batch_id))
        if "jobs" not in fields:
            return None
        job_ids = cast("list[str]", json.loads(fields["jobs"]))
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.hget(Key.JOB + job_id, "status")
        statuses = {job_id: status or DELETED for job_id, status in zip(job_ids, pipeline.execute(), strict=True)}
        created_at = datetime.fromtimestamp(int(fields["created_at"]) / 1000, UTC)
        return Batch(batch_id, fields["owner"], created_at, statuses)


def _facts(job: NewJob) -> dict[str, str | int]:
    return {
        "job_id": job.id,
        "doc": job_doc(job.input, job.options),
        "lead_ms": PRIORITY_LEAD_S[job.options.priority] * 1000,
        "webhook": job.options.webhook_url or "",
    }
