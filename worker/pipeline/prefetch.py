"""Run a generator in a thread, a few items ahead of whoever uses them.

Decoding and looking for faces go on while the network works; both spend their time outside Python's lock.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from app.core.checks import Check
from worker.media.ffmpeg_process import POLL_S

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 (a signal, not an error)
    """Tell the generator that nobody wants more."""


class Ahead(Generic[T]):
    """Iterate over `make(check)` from another thread; use as a context manager.

    The generator must call the check it is given at least each second; when the context ends, that check raises.
    The user's own `check` is called while waiting. At most `depth` items wait.
    """

    def __init__(self, make: Callable[[Check], Iterator[T]], depth: int, check: Check) -> None:
        self._make, self._check = make, check
        self._items: queue.Queue[T | BaseException | None] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)

    def __enter__(self) -> Ahead[T]:
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
        except Stopped:
            return
        except BaseException as error:  # noqa: BLE001 (raised again where the items are used)
            self._deliver(error)

    def _deliver(self, error: BaseException) -> None:
        try:
            self._put(error)
        except Stopped:
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
            raise Stopped
