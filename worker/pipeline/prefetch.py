"""Run a generator in a thread, a few items ahead of its consumer.

The stages of a clip are such generators, each of which reads from the one before it. So they run at the same time; most
of their work is done outside Python's global lock.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from app.core.checks import Check
from worker.media.media_process import POLL_S

T = TypeVar("T")


class PrefetchStopped(Exception):  # noqa: N818 (a signal, not an error)
    """Signal to the generator that no more items are needed."""


class Prefetch(Generic[T]):
    """Iterator over the items of `make(check)`, which runs in another thread; use it as a context manager.

    At most `depth` items are ready ahead of the consumer. The generator must call its own check at least once a second,
    or yield an item; that check raises when the context ends. The consumer's `check` is called while the consumer waits
    for an item. The generator may itself read from a Prefetch, whose context it opens with its own check: then an error
    of any of them reaches the last consumer, and the end of that consumer's context ends all of them.
    """

    def __init__(self, make: Callable[[Check], Iterator[T]], depth: int, check: Check, name: str = "prefetch") -> None:
        self._make, self._check = make, check
        self._items: queue.Queue[T | BaseException | None] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Prefetch[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
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
            yield item

    def _run(self) -> None:
        try:
            generator = self._make(self._check_stop)
            try:
                for item in generator:
                    self._put(item)
            finally:
                if hasattr(generator, "close"):
                    generator.close()
            self._put(None)
        except PrefetchStopped:
            return
        except BaseException as error:  # noqa: BLE001 (raised again in the consumer's thread)
            self._put_error(error)

    def _put_error(self, error: BaseException) -> None:
        try:
            self._put(error)
        except PrefetchStopped:
            return

    def _put(self, item: T | BaseException | None) -> None:
        while True:
            self._check_stop()
            try:
                return self._items.put(item, timeout=POLL_S)
            except queue.Full:
                continue

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise PrefetchStopped
