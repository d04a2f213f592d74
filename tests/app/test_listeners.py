from __future__ import annotations

import anyio
import pytest
import redis

from app.core.errors import LipSyncError
from app.core.jobs import JobOptions, new_job_id
from app.listeners import Listeners, is_before
from app.shutdown import Shutdown
from tests.service import INPUT


@pytest.fixture
def job_id(records):
    return records.create(new_job_id(), "", INPUT, JobOptions()).job_id


def listening(url, body, most=5, quiet_s=0.1):
    """Run `body(listeners, shutdown)` in a new event loop and return its result."""

    async def run():
        shutdown = Shutdown()
        listeners = Listeners(url, shutdown, most, quiet_s)
        try:
            with anyio.fail_after(40):
                return await body(listeners, shutdown)
        finally:
            await listeners.close()

    return anyio.run(run)


def test_an_empty_batch_comes_when_nothing_happens(bare_redis_url, job_id):
    async def body(listeners, shutdown):
        batches = []
        async for events in listeners.follow(job_id, "0-0"):
            batches.append([event.name for event in events])
            if len(batches) == 3:
                shutdown.begin()
        return batches

    assert listening(bare_redis_url, body) == [["status"], [], []]


def test_a_deleted_job_ends_its_listeners(bare_redis_url, records, job_id):
    async def body(listeners, shutdown):
        batches = []
        async for events in listeners.follow(job_id, "0-0"):
            batches.append(len(events))
            records.delete(job_id)
        return batches

    assert listening(bare_redis_url, body) == [1, 0]


def test_a_wait_ends_when_its_job_is_deleted(bare_redis_url, records, job_id):
    last = records.get(job_id).last_event

    async def body(listeners, shutdown):
        async with anyio.create_task_group() as group:
            group.start_soon(listeners.wait, job_id, last, 60)
            await anyio.sleep(0.05)
            records.delete(job_id)
        return listeners.count

    assert listening(bare_redis_url, body) == 0


def test_the_number_of_listeners_is_limited(bare_redis_url, job_id):
    async def body(listeners, shutdown):
        async def listen():
            with listeners.place():
                async for _ in listeners.follow(job_id, "0-0"):
                    pass

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            group.start_soon(listeners.wait, job_id, "999999999999999-0", 60)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(LipSyncError, match="rate_limited"), listeners.place():
                pass
            await listeners.wait(job_id, "999999999999999-0", 60)  # returns at once
            group.cancel_scope.cancel()
        with listeners.place():
            return listeners.count

    assert listening(bare_redis_url, body, most=2) == 1


def test_an_unavailable_redis_is_an_error(tmp_path):
    async def body(listeners, shutdown):
        for listen in (lambda: listeners.wait("0" * 32, "0-0", 1), lambda: anext(listeners.follow("0" * 32, "0-0"))):
            with pytest.raises(redis.ConnectionError):
                await listen()
        return listeners.count

    assert listening(f"unix://{tmp_path}/none.sock", body) == 0


@pytest.mark.parametrize(
    ("first", "second", "before"),
    [
        ("1-0", "2-0", True),
        ("9-0", "10-0", True),
        ("1-0", "1-1", True),
        ("1-9", "1-10", True),
        ("1-0", "1-0", False),
        ("2-0", "1-9", False),
    ],
)
def test_order_of_ids(first, second, before):
    assert is_before(first, second) is before
