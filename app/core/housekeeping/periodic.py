"""A thread that does the same work every few seconds: the loop of reaper and sweeper."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod


class PeriodicThread(ABC):
    """Thread that calls `run_once` every few seconds until it is stopped.

    An expected error ends the call, not the thread. It is logged once; the next errors of its type are not, until a
    call succeeds.
    """

    def __init__(
        self, name: str, interval_s: float, expected_errors: tuple[type[Exception], ...], stop_timeout_s: float
    ) -> None:
        self._log = logging.getLogger(f"lipsync.{name}")
        self._interval_s = interval_s
        self._expected_errors = expected_errors
        self._stop_timeout_s = stop_timeout_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def run_once(self) -> None:
        """Do the work once; may raise the expected errors."""

    def start(self) -> None:
        """Start the thread; the first call of `run_once` comes after one interval."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for its end, at most `stop_timeout_s`."""
        self._stopping.set()
        self._thread.join(timeout=self._stop_timeout_s)

    def _run(self) -> None:
        logged: type[Exception] | None = None
        while not self._stopping.wait(self._interval_s):
            try:
                self.run_once()
                logged = None
            except self._expected_errors as error:
                if type(error) is not logged:
                    self._log.warning("failed, trying again error=%s", type(error).__name__)
                logged = type(error)
