"""The thread that keeps the promise that no accepted job is lost.

It runs wherever a service or a worker runs, any number at once, because each step is one atomic script: jobs whose
lease ended go back into the queue, and messages that were not sent or got lost are sent again. After Redis was away,
leases are given time to be renewed before any is called dead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

import redis
from kombu.exceptions import OperationalError

from app.core.records import LEASE_S, Records

REAP_INTERVAL_S: Final = 2.0
RESEND_AFTER_S: Final = 8.0
RESEND_INTERVAL_S: Final = 5.0

_log = logging.getLogger("lipsync.reaper")


class Reaper:
    """Re-queue and re-send until stopped."""

    def __init__(
        self,
        records: Records,
        send: Callable[[str], None],
        waiting: Callable[[], int],
        interval_s: float = REAP_INTERVAL_S,
    ) -> None:
        """`send` sends a job's message; `waiting` counts those that lie undelivered in the broker."""
        self._records = records
        self._send = send
        self._waiting = waiting
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
        quiet_until = 0.0
        while not self._stop.wait(self._interval_s):
            try:
                self._records.ping()
                if time.monotonic() >= quiet_until:
                    self.reap()
                self.send_unsent()
                if self._records.only_once("resend", RESEND_INTERVAL_S):
                    self.find_lost_messages()
            except (redis.RedisError, OperationalError) as error:
                if time.monotonic() >= quiet_until:  # once an outage, not once a try
                    _log.warning("redis unreachable error=%s", type(error).__name__)
                quiet_until = time.monotonic() + LEASE_S

    def reap(self) -> None:
        """Move the jobs whose worker died."""
        for job_id, status in self._records.reap().items():
            _log.warning("lease ended job=%s now=%s", job_id, status)

    def send_unsent(self) -> None:
        """Send the messages that wait to be sent; one that fails is left for the next time."""
        job_ids = self._records.take_unsent()
        for position, job_id in enumerate(job_ids):
            try:
                self._send(job_id)
            except OperationalError:
                self._records.mark_unsent(job_ids[position:])
                raise

    def find_lost_messages(self) -> None:
        """Have messages sent again where jobs wait long and fewer lie in the broker than jobs wait."""
        overdue = self._records.overdue(RESEND_AFTER_S)
        if overdue:
            missing = max(0, self._records.queued_count() - self._waiting())
            self._records.mark_unsent(overdue[:missing])
