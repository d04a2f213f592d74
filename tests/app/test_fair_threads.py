from __future__ import annotations

import threading

import anyio
import pytest

from app.fair_threads import FairThreads


class Works:
    """Works of owners that last until they are let go."""

    def __init__(self, total):
        self.threads = FairThreads(total)
        self.begun: list[str] = []
        self._changed = threading.Condition()
        self.ends: dict[str, threading.Event] = {}

    async def run(self, name):
        end = self.ends.setdefault(name, threading.Event())

        def work():
            with self._changed:
                self.begun.append(name)
                self._changed.notify_all()
            assert end.wait(60)
            return name

        return await self.threads.run(name[0], work)

    async def until(self, count):
        def wait():
            with self._changed:
                return self._changed.wait_for(lambda: len(self.begun) >= count, 60)

        assert await anyio.to_thread.run_sync(wait)

    def end_all(self):
        for end in self.ends.values():
            end.set()


def run(body, total):
    async def main():
        works = Works(total)
        try:
            async with anyio.create_task_group() as group:
                await body(works, group)
                works.end_all()
        finally:
            works.end_all()
        return works

    return anyio.run(main)


async def started(works, group, names):
    for name in names:
        group.start_soon(works.run, name)
        await anyio.wait_all_tasks_blocked()


def test_one_owner_has_half_of_the_threads_and_the_others_go_on():
    async def body(works, group):
        await started(works, group, ["a1", "a2", "a3", "a4", "b1", "c1"])
        await works.until(4)
        assert sorted(works.begun) == ["a1", "a2", "b1", "c1"]

    assert sorted(run(body, 4).begun) == ["a1", "a2", "a3", "a4", "b1", "c1"]


def test_who_has_fewest_gets_the_next_thread():
    async def body(works, group):
        await started(works, group, ["a1", "a2", "b1", "b2", "a3", "b3", "c1"])
        await works.until(4)
        works.ends["a1"].set()
        await works.until(5)
        assert works.begun[-1] == "c1"
        works.ends["b1"].set()
        await works.until(6)
        assert works.begun[-1] == "a3"  # both have one; this one waits longer

    run(body, 4)


def test_who_leaves_while_waiting_keeps_nothing():
    async def body(works, group):
        await started(works, group, ["a1"])
        with anyio.move_on_after(0.05):
            await works.run("b1")
        works.ends["a1"].set()
        await started(works, group, ["c1"])
        await works.until(2)
        assert works.begun == ["a1", "c1"]

    run(body, 1)


def test_an_error_gives_the_thread_back():
    async def main():
        threads = FairThreads(1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await threads.run("a", lambda: 1 // 0)
        return await threads.run("b", lambda: 5)

    assert anyio.run(main) == 5
