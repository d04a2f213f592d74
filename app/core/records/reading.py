"""Reads of jobs by an event loop, without a thread that waits for Redis.

A poll is by far the most frequent call. It needs the record and the place in the queue; one script returns both. Polls
that arrive while Redis is being asked are answered together by the next script, so the cost of a round trip is shared
when there are many of them, and a single poll never waits for others.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import islice
from typing import Final

import redis.asyncio

from app.core.jobs import Job
from app.core.records.job_hash import job_of_hash
from app.core.records.lua import LoopScripts

MOST_AT_ONCE: Final = 50  # jobs of one script: Redis does nothing else meanwhile


@dataclass(frozen=True)
class PlacedJob:
    """Job, and its place among all waiting jobs, counted from 1; None for a job that does not wait."""

    job: Job
    place: int | None


class JobReader:
    """Reader of jobs for one event loop; may raise `redis.RedisError`."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client
        self._scripts = LoopScripts(client)
        self._wanted: dict[str, asyncio.Future[tuple[list[str], int]]] = {}
        self._rounds: asyncio.Task[None] | None = None

    async def get(self, job_id: str) -> PlacedJob | None:
        """Return the job as it is now with its place, or None."""
        answer = self._wanted.get(job_id)
        if answer is None:
            answer = self._wanted[job_id] = asyncio.get_running_loop().create_future()
        if self._rounds is None:
            self._rounds = asyncio.create_task(self._read_all())
        texts, place = await asyncio.shield(answer)  # a caller that leaves must not cancel the answer of others
        fields = dict(zip(texts[::2], texts[1::2], strict=True))
        return PlacedJob(job_of_hash(job_id, fields), place or None) if "doc" in fields else None

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._redis.aclose()

    async def _read_all(self) -> None:
        """Read what is wanted, round after round, until nothing is."""
        try:
            while self._wanted:
                job_ids = list(islice(self._wanted, MOST_AT_ONCE))
                answers = [self._wanted.pop(job_id) for job_id in job_ids]
                try:
                    records, places = await self._scripts.answer("read_jobs", job_ids=job_ids)
                except Exception as error:  # noqa: BLE001  each caller gets it
                    for answer in answers:
                        answer.set_exception(error)
                        answer.exception()  # a caller that has left asks for it no more
                else:
                    for answer, record, place in zip(answers, records, places, strict=True):
                        answer.set_result((record, place))
        finally:
            self._rounds = None
