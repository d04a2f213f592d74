"""Run a generator in a thread, a few items ahead of its consumer.

The stages of a clip are such generators, each of which reads from the one before it. So they run at the same time; most
of their work is done outside Python's global lock.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from app.core.checks import Check
from worker.media.media_process import POLL_S

T = TypeVar("T")


class PrefetchStopped(Exception):  # noqa: N818 (a signal, not an error)
    """Signal to the generator that no more items are needed."""


class Prefetch(Generic[T]):
    """Iterator over the items of `make(check)`, which runs in another thread; use it as a context manager.

    At most `depth` items are in the making or ready ahead of the consumer: with 1, the next item is made while the
    consumer uses the last one. The generator must call its own check at least once a second, or yield an item; that
    check raises when the context ends. The consumer's `check` is called while the consumer waits for an item.

    The generator may itself read from a Prefetch, whose context it opens with its own check. Then an error of any of
    them reaches the last consumer, and the end of that consumer's context ends all of them.
    """

    def __init__(self, make: Callable[[Check], Iterator[T]], depth: int, check: Check, name: str = "prefetch") -> None:
        self._make, self._check = make, check
        self._items: queue.SimpleQueue[T | BaseException | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Prefetch[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._room.release()  # wakes a thread that waits for room
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                item = self._items.get(timeout=POLL_S)
            except queue.Empty:
                self._check()
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            self._room.release()
            yield item
            del item  # it may be large, and the next one may take long

    def _run(self) -> None:
        try:
            items = self._make(self._check_stop)
            try:
                self._wait_for_room()
                for item in items:
                    self._items.put(item)
                    del item  # as above
                    self._wait_for_room()
            finally:
                if isinstance(items, Generator):
                    items.close()
            self._items.put(None)
        except PrefetchStopped:
            return
        except BaseException as error:  # noqa: BLE001 (raised again in the consumer's thread)
            self._items.put(error)

    def _wait_for_room(self) -> None:
        while not self._room.acquire(timeout=POLL_S):
            self._check_stop()
        self._check_stop()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise PrefetchStopped
