from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from app.core.checks import Check, never_stop
from tests.worker.stop import StopError, stop_after
from worker.media.prefetch import Prefetch


def test_items_come_in_order_from_the_thread() -> None:
    def make(check: Check) -> Iterator[int]:
        for i in range(50):
            check()
            yield i

    with Prefetch(make, 4, never_stop) as items:
        assert list(items) == list(range(50))


def test_an_error_in_the_thread_is_raised_where_items_are_used() -> None:
    def make(check: Check) -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with Prefetch(make, 4, never_stop) as items, pytest.raises(ValueError, match="broken"):
        assert list(items) == [1]


def test_the_thread_ends_when_nobody_wants_more() -> None:
    ended = []

    def make(check: Check) -> Iterator[int]:
        try:
            while True:
                check()
                yield 0
        finally:
            ended.append(True)

    with Prefetch(make, 2, never_stop) as items:
        assert next(iter(items)) == 0
    assert ended == [True]


def test_waiting_for_the_thread_can_be_stopped() -> None:
    def make(check: Check) -> Iterator[int]:
        while True:
            time.sleep(0.05)
            check()
            yield from ()

    with pytest.raises(StopError), Prefetch(make, 2, stop_after(0.3)) as items:
        next(iter(items))


def test_little_is_made_ahead() -> None:
    made = []

    def make(check: Check) -> Iterator[int]:
        for i in range(1000):
            made.append(i)
            yield i

    with Prefetch(make, 3, never_stop) as items:
        for taken, _ in enumerate(islice(items, 20), 1):
            assert len(made) <= taken + 3
    assert 20 <= len(made) <= 23


def test_an_item_that_was_used_is_not_kept() -> None:
    class Item:
        pass

    known: list[weakref.ref[Item]] = []

    def make(check: Check) -> Iterator[Item]:
        for _ in range(3):
            item = Item()
            known.append(weakref.ref(item))
            yield item
            del item
            deadline = time.monotonic() + 30
            while known[-1]() is not None and time.monotonic() < deadline:  # until the consumer asks for the next one
                check()
                time.sleep(0.001)

    with Prefetch(make, 1, never_stop) as items:
        numbered = iter(items)
        for before in (None, *range(2)):
            next(numbered)  # what it returns is not kept here either
            assert before is None or known[before]() is None


def chained(first: Callable[[Check], Iterator[int]], check: Check) -> Prefetch[int]:
    """Return the last of three stages, each of which reads from the one before it."""

    def second(check: Check) -> Iterator[int]:
        with Prefetch(first, 1, check, "first") as items:
            yield from (10 * item for item in items)

    def third(check: Check) -> Iterator[int]:
        with Prefetch(second, 1, check, "second") as items:
            yield from (item + 1 for item in items)

    return Prefetch(third, 1, check, "third")


def test_stages_follow_each_other() -> None:
    with chained(lambda _: iter(range(20)), never_stop) as items:
        assert list(items) == [10 * i + 1 for i in range(20)]
    assert_ended()


def test_an_error_of_the_first_stage_reaches_the_last_consumer() -> None:
    def broken(check: Check) -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), chained(broken, never_stop) as items:
        assert list(items) == [11]
    assert_ended()


def test_all_stages_end_when_nobody_wants_more() -> None:
    ended = []

    def endless(check: Check) -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            ended.append(True)

    with chained(endless, never_stop) as items:
        assert next(iter(items)) == 1
    assert ended == [True]
    assert_ended()


def test_all_stages_end_when_the_last_one_is_stopped() -> None:
    def hanging(check: Check) -> Iterator[int]:
        while True:
            time.sleep(0.05)
            check()
            yield from ()

    with pytest.raises(StopError), chained(hanging, stop_after(0.3)) as items:
        next(iter(items))
    assert_ended()


def assert_ended() -> None:
    assert not {"first", "second", "third"} & {thread.name for thread in threading.enumerate()}
