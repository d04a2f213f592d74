from __future__ import annotations

import asyncio

import pytest
import redis

from app.core.jobs import JobOptions, JobStatus, new_job_id
from app.core.records.connection import connect_reader
from app.core.records.reading import MOST_AT_ONCE, JobReader
from tests.app.conftest import LIMITS
from tests.service import INPUT


def reading(url, body):
    """Run `body(reader)` in a new event loop and return its result."""

    async def run():
        reader = JobReader(connect_reader(url))
        try:
            return await body(reader)
        finally:
            await reader.close()

    return asyncio.run(run())


def make(records, number):
    return [records.create(new_job_id(), "", INPUT, JobOptions()).job_id for _ in range(number)]


def test_a_job_is_read_as_its_record_says(bare_redis_url, records):
    first, second = make(records, 2)
    records.cancel(first)
    for job_id, status, place in ((first, JobStatus.CANCELED, None), (second, JobStatus.QUEUED, 1)):
        placed = reading(bare_redis_url, lambda reader, job_id=job_id: reader.get(job_id))
        assert placed.job == records.get(job_id) and (placed.job.status, placed.place) == (status, place)
    assert reading(bare_redis_url, lambda reader: reader.get(new_job_id())) is None


def test_many_at_once_get_each_their_own(bare_redis_url, records):
    ids = make(records, LIMITS.max_active_per_owner)
    asked = [ids[number % len(ids)] if number % 3 else new_job_id() for number in range(3 * MOST_AT_ONCE)]

    async def body(reader):
        return await asyncio.gather(*map(reader.get, asked))

    for job_id, placed in zip(asked, reading(bare_redis_url, body), strict=True):
        assert (placed is None) == (job_id not in ids)
        assert placed is None or (placed.job.id, placed.place) == (job_id, ids.index(job_id) + 1)


def test_a_damaged_record_costs_only_itself(bare_redis_url, records, redis_client):
    good, bad = make(records, 2)
    redis_client.hset(f"lipsync:job:{bad}", "doc", "{")

    async def body(reader):
        return await asyncio.gather(reader.get(good), reader.get(bad), return_exceptions=True)

    found, error = reading(bare_redis_url, body)
    assert found.job.id == good and isinstance(error, ValueError)


def test_one_who_leaves_costs_nobody_the_answer(bare_redis_url, records):
    (job_id,) = make(records, 1)

    async def body(reader):
        calls = [asyncio.create_task(reader.get(job_id)) for _ in range(3)]
        await asyncio.sleep(0)
        calls[0].cancel()
        return await asyncio.gather(*calls, return_exceptions=True)

    left, *stayed = reading(bare_redis_url, body)
    assert isinstance(left, asyncio.CancelledError) and [placed.job.id for placed in stayed] == [job_id] * 2


def test_all_learn_that_redis_is_away(tmp_path):
    async def body(reader):
        first = await asyncio.gather(*[reader.get(new_job_id()) for _ in range(3)], return_exceptions=True)
        return [*first, *await asyncio.gather(reader.get(new_job_id()), return_exceptions=True)]

    errors = reading(f"unix://{tmp_path / 'none.sock'}", body)
    assert all(isinstance(error, redis.ConnectionError) for error in errors) and len(errors) == 4
    with pytest.raises(redis.ConnectionError):
        raise errors[0]
