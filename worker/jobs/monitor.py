"""Monitor of an attempt: it passes the progress out of the pipeline, and the reasons to stop into it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from app.core.errors import ErrorCode, RequestError, ServiceError
from app.core.jobs import Progress
from app.core.records.records import Renewal

DRAIN_S: Final = 5.0  # a stopping worker finishes what takes no longer than this, and hands back the rest


class AttemptLostError(ServiceError):
    """Attempt whose lease went to another attempt, or whose job is gone; it must publish nothing."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.WORKER_LOST, "Another attempt has taken over.")


class HandedBackError(ServiceError):
    """Attempt that stops because its worker is stopping; its work may be claimed again."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.WORKER_LOST, "The worker is ending.")


class JobMonitor:
    """Monitor of one attempt, for the pipeline and for the heartbeat; safe to use from both of their threads."""

    def __init__(self, run_timeout_s: float, is_stopping: Callable[[], bool]) -> None:
        self.run_timeout_s = run_timeout_s
        self._lock = threading.Lock()
        self._started_at = time.monotonic()
        self._is_stopping = is_stopping
        self._stopping_since: float | None = None
        self._answer = Renewal.OK
        self._stage = "start"
        self._frames = (0, 0)
        self._first: tuple[float, int] | None = None  # time of the first count of frames, and that count

    def stage(self, name: str) -> None:
        """Note that a stage begins."""
        with self._lock:
            self._stage = name

    def frames(self, done: int, total: int) -> None:
        """Note how many frames of the output are done; fewer than before if they are rendered again."""
        with self._lock:
            if self._first is None or done < self._frames[0]:
                self._first = (time.monotonic(), done)
            self._frames = (done, total)

    def check(self) -> None:
        """Raise LipSyncError if the attempt must stop: lost, canceled, handed back or out of time."""
        if self._answer is Renewal.LOST:
            raise AttemptLostError
        if self._answer is Renewal.CANCEL:
            raise RequestError(ErrorCode.CANCELED, "The job was canceled.")
        if self._is_stopping() and not self._is_nearly_done():
            raise HandedBackError
        if self.elapsed_s > self.run_timeout_s:
            raise ServiceError(ErrorCode.RUN_TIMEOUT, f"The job took longer than {self.run_timeout_s:g} s.")

    def _is_nearly_done(self) -> bool:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
        eta_s = self.snapshot()[1].eta_s
        return eta_s is not None and eta_s < self._stopping_since + DRAIN_S - time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Return the age of the attempt in seconds."""
        return time.monotonic() - self._started_at

    @property
    def is_worker_stopping(self) -> bool:
        """Return whether the worker was asked to stop."""
        return self._is_stopping()

    def take_answer(self, answer: Renewal) -> None:
        """Note the answer to a renewal of the lease; the next check obeys it."""
        self._answer = answer

    def snapshot(self) -> tuple[str, Progress]:
        """Return the stage and the progress of the attempt."""
        with self._lock:
            stage, (done, total), (first_at, first_done) = self._stage, self._frames, self._first or (0.0, 0)
        fps = (done - first_done) / (time.monotonic() - first_at) if done > first_done else 0.0
        return stage, Progress(
            percent=round(min(99.9, 100 * done / total), 1) if total else 0.0,
            frames_done=done,
            frames_total=total,
            fps=round(fps, 2),
            eta_s=round((total - done) / fps, 1) if fps > 0 and total else None,
        )
