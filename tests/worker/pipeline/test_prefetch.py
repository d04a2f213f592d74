from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from app.core.checks import Check, never_stop
from tests.worker.stop import StopError, stop_after
from worker.pipeline.prefetch import Prefetch


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
