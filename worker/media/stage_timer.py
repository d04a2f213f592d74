"""Measure how long each stage of a job takes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Add up wall seconds by stage; each stage belongs to one thread."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count what happens inside towards a stage."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[stage] += time.monotonic() - started

    def timed(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Pass items on and count the waiting for each towards a stage."""
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
        """Return the seconds since the clock was made."""
        return time.monotonic() - self._started

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage, to the millisecond."""
        return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}

    def add(self, seconds: Mapping[str, float]) -> None:
        """Count what another clock measured as well."""
        for stage, more in seconds.items():
            self._seconds[stage] += more
