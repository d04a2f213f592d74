"""The thread that keeps the promise that no accepted job is lost.

It runs wherever a service or a worker runs, any number at once, because each step is one atomic script: jobs and
segments whose lease ended can be claimed again, and messages that were not sent or got lost are sent again. After Redis
was away, for all reapers alike, leases are given time to be renewed before any is called dead.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, Protocol

import redis
from kombu.exceptions import OperationalError

from app.core.records.records import Records
from app.core.records.segments import Segments

REAP_INTERVAL_S: Final = 1.0
OUTAGE_S: Final = 4.0  # no reaper came by for so long: nobody reached Redis
SETTLE_S: Final = 5.0  # in which every live worker renews its lease
RESEND_AFTER_S: Final = 8.0
RESEND_INTERVAL_S: Final = 5.0

_log = logging.getLogger("lipsync.reaper")


class Outbox(Protocol):
    """Send messages and know which lie undelivered; all may raise kombu's OperationalError."""

    def send_job(self, job_id: str) -> None:
        """Say that a job waits."""

    def send_unit(self, unit: str) -> None:
        """Say that a segment or a join waits."""

    def waiting_jobs(self) -> int:
        """Return how many messages of jobs are not yet delivered."""

    def waiting_units(self) -> set[str]:
        """Return the segments and joins whose message is not yet delivered."""


class Reaper:
    """Re-queue and re-send until stopped."""

    def __init__(
        self,
        records: Records,
        segments: Segments,
        outbox: Outbox,
        run_timeout_s: float,
        interval_s: float = REAP_INTERVAL_S,
    ) -> None:
        self._records = records
        self._segments = segments
        self._outbox = outbox
        self._run_timeout_s = run_timeout_s
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        is_away = False
        while not self._stop.wait(self._interval_s):
            try:
                if not self._records.is_settling(OUTAGE_S, SETTLE_S):
                    self.reap()
                self.send_unsent()
                if self._records.only_once("resend", RESEND_INTERVAL_S):
                    self.find_lost_messages()
                is_away = False
            except (redis.RedisError, OperationalError) as error:
                if not is_away:  # once an outage, not once a try
                    _log.warning("redis unreachable error=%s", type(error).__name__)
                is_away = True

    def reap(self) -> None:
        """Move the jobs and segments whose worker died, and the jobs in segments that took too long."""
        for unit, status in (self._records.reap() | self._segments.reap()).items():
            _log.warning("lease ended job=%s now=%s", unit, status)
        for job_id in self._segments.end_slow(self._run_timeout_s):
            _log.warning("out of time job=%s", job_id)

    def send_unsent(self) -> None:
        """Send the messages that wait to be sent; one that fails is left for the next time."""
        _send_all(self._records.take_unsent(), self._outbox.send_job, self._records.mark_unsent)
        _send_all(self._segments.take_unsent(), self._outbox.send_unit, self._segments.mark_unsent)

    def find_lost_messages(self) -> None:
        """Have messages sent again where jobs or segments wait long with none of theirs in the broker."""
        overdue = self._records.overdue(RESEND_AFTER_S)
        if overdue:
            missing = max(0, self._records.queued_count() - self._outbox.waiting_jobs())
            self._records.mark_unsent(overdue[:missing])
        units = self._segments.overdue(RESEND_AFTER_S)
        if units:
            waiting = self._outbox.waiting_units()
            self._segments.mark_unsent(unit for unit in units if unit not in waiting)


def _send_all(names: list[str], send: Callable[[str], None], mark_unsent: Callable[[list[str]], None]) -> None:
    for position, name in enumerate(names):
        try:
            send(name)
        except OperationalError:
            mark_unsent(names[position:])
            raise
