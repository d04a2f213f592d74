"""One attempt at what was claimed, a job, a segment or a join: hold its lease, hear when to stop, say how it ended.

Whatever happens, the record says it: only the attempt that holds the lease can move what it claimed, and an attempt
that lost it leaves no trace.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import redis

from app.core.checks import Check, never_stop
from app.core.errors import ErrorCode, LipSyncError, RequestError, ServiceError, error_payload, public_error
from app.core.jobs import Progress
from app.core.probing.probe import ProbeKilledError
from app.core.records.connection import REDIS_AWAY
from app.core.records.records import Beat
from app.core.storage.port import StorageUnavailableError
from worker.media.ffmpeg_process import ChildKilledError

HEARTBEAT_S: Final = 0.7
OVERRUN_S: Final = 30.0  # past its time limit by this, an attempt that does not stop is ended over its head
PATIENCE_S: Final = 300.0  # how long an attempt waits for a Redis or a storage that is away
DRAIN_S: Final = 5.0  # what will be done within this after the worker is told to end is finished; the rest handed back

AWAY: Final = (*REDIS_AWAY, StorageUnavailableError)

_log = logging.getLogger("lipsync.worker")
_T = TypeVar("_T")


class AttemptLostError(ServiceError):
    """Stop an attempt whose lease went to another, or whose job is gone: nothing of it may be published."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.WORKER_LOST, "Another attempt has taken over.")


class HandedBackError(ServiceError):
    """Stop an attempt because its worker is asked to end: what it claimed may be claimed again."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.WORKER_LOST, "The worker is ending.")


@dataclass(frozen=True)
class Hold:
    """What an attempt has claimed and the moves it may make; each is refused once another attempt has it.

    is_cut_off tells whether the storage is away, which explains any failure.
    """

    name: str  # for the log
    beat: Callable[[str, Progress], Beat]
    hand_back: Callable[[], bool]
    lose: Callable[[], bool]
    fail: Callable[[Mapping[str, Any]], bool]
    cancel: Callable[[], bool]
    is_cut_off: Callable[[], bool]


class JobMonitor:
    """Carry progress out of the pipeline and the wish to stop into it; the pipeline's `Monitor`."""

    def __init__(self, run_timeout_s: float, is_stopping: Callable[[], bool]) -> None:
        self._lock = threading.Lock()
        self._started_at = time.monotonic()
        self._run_timeout_s = run_timeout_s
        self._is_stopping = is_stopping
        self._stopping_since: float | None = None
        self._answer = Beat.OK
        self._stage = "start"
        self._frames = (0, 0)
        self._first: tuple[float, int] | None = None  # when frames were first counted, and how many

    def stage(self, name: str) -> None:
        """Say which stage begins."""
        with self._lock:
            self._stage = name

    def frames(self, done: int, total: int) -> None:
        """Say how many frames of the output are done."""
        with self._lock:
            if self._first is None:
                self._first = (time.monotonic(), done)
            self._frames = (done, total)

    def check(self) -> None:
        """Raise where the attempt has to stop: lost, canceled, handed back or out of time."""
        if self._answer is Beat.LOST:
            raise AttemptLostError
        if self._answer is Beat.CANCEL:
            raise RequestError(ErrorCode.CANCELED, "The job was canceled.")
        if self._is_stopping() and not self._is_nearly_done():
            raise HandedBackError
        if self.elapsed_s > self._run_timeout_s:
            raise ServiceError(ErrorCode.RUN_TIMEOUT, f"The job took longer than {self._run_timeout_s:g} s.")

    def _is_nearly_done(self) -> bool:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
        eta_s = self.snapshot()[1].eta_s
        return eta_s is not None and eta_s < self._stopping_since + DRAIN_S - time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Return the age of the attempt."""
        return time.monotonic() - self._started_at

    @property
    def is_ending(self) -> bool:
        """Tell whether the worker was asked to end."""
        return self._is_stopping()

    def heed(self, answer: Beat) -> None:
        """Take what Redis answered to the heartbeat."""
        self._answer = answer

    def snapshot(self) -> tuple[str, Progress]:
        """Return the stage and how far the attempt is."""
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


class Heartbeat:
    """Renew the lease of an attempt from a thread, and pass Redis' answer to the monitor."""

    def __init__(self, hold: Hold, monitor: JobMonitor, overrun_at_s: float) -> None:
        self._hold = hold
        self._monitor = monitor
        self._overrun_at_s = overrun_at_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        is_away = False
        while not self._done.is_set():
            try:
                self._monitor.heed(self._hold.beat(*self._monitor.snapshot()))
                if self._monitor.elapsed_s > self._overrun_at_s:
                    error = ServiceError(ErrorCode.RUN_TIMEOUT, "The job took too long and did not stop.")
                    self._hold.fail(error_payload(error, None))
                is_away = False
            except redis.RedisError as error:
                if not is_away:
                    _log.warning("heartbeat failed %s error=%s", self._hold.name, type(error).__name__)
                is_away = True
            self._done.wait(HEARTBEAT_S)


def attend(hold: Hold, monitor: JobMonitor, run_timeout_s: float, work: Callable[[], str]) -> None:
    """Do the work under the lease and record how it ended; `work` returns a word for the log.

    Raises only where Redis stays away.
    """
    _log.info("claimed %s", hold.name)
    with Heartbeat(hold, monitor, run_timeout_s + OVERRUN_S):
        outcome = _outcome(hold, monitor, work)
    _log.info("ended %s outcome=%s seconds=%.1f", hold.name, outcome, monitor.elapsed_s)


def _outcome(hold: Hold, monitor: JobMonitor, work: Callable[[], str]) -> str:
    try:
        return work()
    except AttemptLostError:
        return "lost"
    except HandedBackError:
        return "handed back" if patiently(hold.hand_back) else "lost"
    except (ChildKilledError, ProbeKilledError):
        _log.warning("a child was killed %s", hold.name)
        return _give_up(hold, monitor)
    except AWAY as error:
        _log.warning("nothing answers %s error=%s", hold.name, type(error).__name__)
        return _give_up(hold, monitor)
    except Exception as error:  # noqa: BLE001  whatever it was, the job's record has to say so
        shown, stage = public_error(error), monitor.snapshot()[0]
        if shown.code is ErrorCode.CANCELED:
            return "canceled" if patiently(hold.cancel) else "lost"
        if hold.is_cut_off():
            _log.warning("cut off from the storage %s", hold.name)
            return _give_up(hold, monitor)
        if not isinstance(error, LipSyncError):
            _log.error("failed %s stage=%s", hold.name, stage, exc_info=error)
        return str(shown.code) if patiently(lambda: hold.fail(error_payload(shown, stage))) else "lost"


def _give_up(hold: Hold, monitor: JobMonitor) -> str:
    """End an attempt that broke through nobody's fault: it is a loss, unless its worker is being ended."""
    if monitor.is_ending:
        return "handed back" if patiently(hold.hand_back) else "lost"
    return "broken" if patiently(hold.lose) else "lost"


def patiently(move: Callable[[], _T], check: Check = never_stop) -> _T:
    """Make a move, again and again while Redis or the storage is away; raises what it raised after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return move()
        except AWAY:
            if time.monotonic() > deadline:
                raise
            check()
            time.sleep(1.0)
