"""Threads that work for many owners, fairly: nobody has more than half of them, and who has fewest gets the next one.

A download can hold its thread for minutes. First come, first served would let one owner with many slow addresses keep
out all others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
import anyio.to_thread

_Result = TypeVar("_Result")


@dataclass(eq=False)
class _Waiter:
    owner: str
    turn: anyio.Event = field(default_factory=anyio.Event)


class FairThreads:
    """A fixed number of threads; used from one event loop, so no step here is interrupted by another one."""

    def __init__(self, total: int) -> None:
        self._total, self._most = total, max(1, total // 2)
        self._limiter = anyio.CapacityLimiter(total)
        self._held: Counter[str] = Counter()
        self._waiting: list[_Waiter] = []

    async def run(self, owner: str, work: Callable[[], _Result]) -> _Result:
        """Return the result of `work`, which a thread does when it is the turn of the owner."""
        await self._take(owner)
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._give_back(owner)

    async def _take(self, owner: str) -> None:
        waiter = _Waiter(owner)
        self._waiting.append(waiter)
        self._admit()
        try:
            await waiter.turn.wait()
        except BaseException:  # canceled; its turn may have come meanwhile
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:
                self._give_back(owner)
            raise

    def _give_back(self, owner: str) -> None:
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        self._admit()

    def _admit(self) -> None:
        while self._held.total() < self._total:
            allowed = [waiter for waiter in self._waiting if self._held[waiter.owner] < self._most]
            if not allowed:
                return
            waiter = min(allowed, key=lambda one: self._held[one.owner])  # of equals the one that waits longest
            self._waiting.remove(waiter)
            self._held[waiter.owner] += 1
            waiter.turn.set()
