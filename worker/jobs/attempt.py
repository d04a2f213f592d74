"""One attempt at a job, a segment or a join: renew its lease, do its work, record how it ended.

Every end of an attempt is recorded. Only the attempt with the lease can record it; an attempt that lost its
lease leaves no trace.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

import redis

from app.core.errors import ErrorCode, LipSyncError, ServiceError, error_payload, public_error
from app.core.probing.probe import ProbeBrokenError
from app.core.storage.port import Storage, StorageUnavailableError
from worker.jobs.leases import Lease
from worker.jobs.monitor import AttemptLostError, HandedBackError, JobMonitor
from worker.jobs.unavailable import UNAVAILABLE, retry_while_unavailable
from worker.media.media_process import ProcessKilledError

RENEW_EVERY_S: Final = 0.7
OVERRUN_S: Final = 30.0  # an attempt that ignores its time limit is failed from its heartbeat after this much more time

_log = logging.getLogger("lipsync.worker")


class Heartbeat:
    """Thread that renews the lease of an attempt and passes the answers to the monitor; use as a context manager."""

    def __init__(self, lease: Lease, monitor: JobMonitor) -> None:
        self._lease = lease
        self._monitor = monitor
        self._overrun_at_s = monitor.run_timeout_s + OVERRUN_S
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        is_failing = False  # logged once per outage
        while not self._done.is_set():
            try:
                self._monitor.take_answer(self._lease.renew(*self._monitor.snapshot()))
                if self._monitor.elapsed_s > self._overrun_at_s:
                    error = ServiceError(ErrorCode.RUN_TIMEOUT, "The job took too long and did not stop.")
                    self._lease.fail(error_payload(error, None))
                is_failing = False
            except redis.RedisError as error:
                if not is_failing:
                    _log.warning("heartbeat failed %s error=%s", self._lease.name, type(error).__name__)
                is_failing = True
            self._done.wait(RENEW_EVERY_S)


def run_attempt(lease: Lease, monitor: JobMonitor, storage: Storage, work: Callable[[], str]) -> None:
    """Do the work under the lease and record how it ended; `work` returns its outcome for the log.

    Raises only if Redis stays unavailable.
    """
    _log.info("claimed %s", lease.name)
    with Heartbeat(lease, monitor):
        outcome = _do_work(lease, monitor, storage, work)
    _log.info("ended %s outcome=%s seconds=%.1f", lease.name, outcome, monitor.elapsed_s)


def _do_work(lease: Lease, monitor: JobMonitor, storage: Storage, work: Callable[[], str]) -> str:
    """Do the work, record its end and return the outcome for the log."""
    try:
        return work()
    except AttemptLostError:
        return "lost"
    except HandedBackError:
        return _recorded("handed back", lease.hand_back)
    except (ProcessKilledError, ProbeBrokenError):
        _log.warning("a child was killed %s", lease.name)
        return _break_off(lease, monitor)
    except UNAVAILABLE as error:
        _log.warning("nothing answers %s error=%s", lease.name, type(error).__name__)
        return _break_off(lease, monitor)
    except Exception as error:  # noqa: BLE001  every error must be recorded
        shown, stage = public_error(error), monitor.snapshot()[0]
        if shown.code is ErrorCode.CANCELED:
            return _recorded("canceled", lease.end_canceled)
        if not _is_available(storage, lease.job_id):  # an unavailable storage can cause any error
            _log.warning("cut off from the storage %s", lease.name)
            return _break_off(lease, monitor)
        if not isinstance(error, LipSyncError):
            _log.error("failed %s stage=%s", lease.name, stage, exc_info=error)
        return _recorded(str(shown.code), lambda: lease.fail(error_payload(shown, stage)))


def _break_off(lease: Lease, monitor: JobMonitor) -> str:
    """End an attempt that broke off without a fault of the job: lost, or handed back if the worker is stopping."""
    if monitor.is_worker_stopping:
        return _recorded("handed back", lease.hand_back)
    return _recorded("broken", lease.lose)


def _recorded(outcome: str, end: Callable[[], bool]) -> str:
    """Record an end; return the outcome, or "lost" if another attempt has the lease."""
    return outcome if retry_while_unavailable(end) else "lost"


def _is_available(storage: Storage, job_id: str) -> bool:
    try:
        storage.names(job_id)
    except StorageUnavailableError:
        return False
    return True
