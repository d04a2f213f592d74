from __future__ import annotations

import anyio
import pytest
import redis

from app.core.errors import LipSyncError
from app.core.jobs import JobOptions, Progress, new_job_id
from app.listeners import Listeners, is_before
from app.shutdown import Shutdown
from tests.service import INPUT

NONE = "0" * 32


async def always():
    return True


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
        async for events in listeners.follow(job_id, "0-0", always):
            batches.append([event.name for event in events])
            if len(batches) == 3:
                shutdown.begin()
        return batches

    assert listening(bare_redis_url, body) == [["status"], [], []]


def test_a_deleted_job_ends_its_listeners(bare_redis_url, records, job_id):
    async def body(listeners, shutdown):
        batches = []
        async for events in listeners.follow(job_id, "0-0", always):
            batches.append(len(events))
            records.delete(job_id)
        return batches

    assert listening(bare_redis_url, body) == [1, 0]


def test_a_wait_ends_when_its_job_is_deleted(bare_redis_url, records, job_id):
    last = records.get(job_id).last_event

    async def body(listeners, shutdown):
        async with anyio.create_task_group() as group:
            group.start_soon(listeners.wait, job_id, last, 60, always)
            await anyio.sleep(0.05)
            records.delete(job_id)
        return listeners.count

    assert listening(bare_redis_url, body) == 0


def test_who_may_no_longer_listen_is_left_within_a_pause(bare_redis_url, records, job_id):
    last = records.get(job_id).last_event

    async def body(listeners, shutdown):
        asked = []

        async def twice():
            asked.append(True)
            return len(asked) % 3 != 0

        batches = [len(events) async for events in listeners.follow(job_id, "0-0", twice)]
        await listeners.wait(job_id, last, 600, twice)
        return sum(batches), len(asked)

    assert listening(bare_redis_url, body) == (1, 6)


def test_events_that_never_pause_do_not_hide_the_question(bare_redis_url, records, job_id):
    records.claim("w", "c")

    async def body(listeners, shutdown):
        async def never():
            return False

        percent = 0.0
        async for _ in listeners.follow(job_id, "0-0", never):
            percent += 0.01
            records.renew(job_id, 1, "encode", Progress(percent=percent))

    listening(bare_redis_url, body)  # it ends


def test_the_number_of_listeners_is_limited(bare_redis_url, job_id):
    async def body(listeners, shutdown):
        async def listen():
            with listeners.place():
                async for _ in listeners.follow(job_id, "0-0", always):
                    pass

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            group.start_soon(listeners.wait, job_id, "999999999999999-0", 60, always)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(LipSyncError, match="rate_limited"), listeners.place():
                pass
            await listeners.wait(job_id, "999999999999999-0", 60, always)  # returns at once
            group.cancel_scope.cancel()
        with listeners.place():
            return listeners.count

    assert listening(bare_redis_url, body, most=2) == 1


def test_an_unavailable_redis_is_an_error(tmp_path):
    async def body(listeners, shutdown):
        for listen in (
            lambda: listeners.wait(NONE, "0-0", 1, always),
            lambda: anext(listeners.follow(NONE, "0-0", always)),
        ):
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
