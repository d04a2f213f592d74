"""Measure how long each stage of a job takes, and how much of that its thread computes.

Processor time is that of the thread that runs the stage. Threads inside of libraries and child processes are not in it,
because nothing tells which stage they work for.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class StageTimer:
    """Timer that adds up wall and processor time of each stage, in seconds; only one thread may time the same stage."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._cpu_seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the duration of the context to a stage."""
        started, cpu_started = time.monotonic(), time.thread_time()
        try:
            yield
        finally:
            self._cpu_seconds[stage] += time.thread_time() - cpu_started
            self._seconds[stage] += time.monotonic() - started

    def timed(self, stage: str, items: Iterable[T]) -> Generator[T]:
        """Yield the items and add the time spent waiting for each of them to a stage."""
        iterator = iter(items)
        while True:
            with self.time(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since the timer was made."""
        return time.monotonic() - self._started

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage, rounded to milliseconds."""
        return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor seconds of each stage that this timer measured, rounded to milliseconds."""
        return {stage: round(seconds, 3) for stage, seconds in self._cpu_seconds.items()}

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add the seconds of each stage that another timer measured."""
        for stage, more in seconds.items():
            self._seconds[stage] += more
