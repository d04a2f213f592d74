"""The thread that keeps the promise that no accepted job is lost.

It runs in every service and every worker. Any number may run at once, because each step is one atomic script. It lets
jobs and segments be claimed again when their lease ended, and sends messages that were not sent or were lost. After
Redis was unavailable to all reapers, leases get time to be renewed before any is called dead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import redis
from kombu.exceptions import OperationalError

from app.core.housekeeping.periodic import PeriodicThread
from app.core.records.upkeep import Upkeep

REAP_INTERVAL_S: Final = 1.0
OUTAGE_S: Final = 4.0  # no reaper came by for so long: Redis could not be reached
SETTLE_S: Final = 5.0  # within this time every live worker renews its lease
RESEND_AFTER_S: Final = 8.0
RESEND_INTERVAL_S: Final = 5.0


class Outbox(Protocol):
    """Messages to the workers; all methods may raise kombu's OperationalError or `redis.RedisError`."""

    def send_job(self, job_id: str) -> None:
        """Send the message that a job waits."""

    def send_unit(self, unit: str) -> None:
        """Send the message of a segment or a join."""

    def count_jobs(self) -> int:
        """Return the number of messages about jobs that are not yet delivered."""

    def count_units(self) -> int:
        """Return the number of messages about segments and joins that are not yet delivered."""


class Reaper(PeriodicThread):
    """Thread that queues the jobs of dead workers again and sends missing messages."""

    def __init__(
        self, upkeep: Upkeep, outbox: Outbox, run_timeout_s: float, interval_s: float = REAP_INTERVAL_S
    ) -> None:
        super().__init__("reaper", interval_s, (redis.RedisError, OperationalError), stop_timeout_s=10)
        self._upkeep = upkeep
        self._outbox = outbox
        self._run_timeout_s = run_timeout_s

    def run_once(self) -> None:
        """Do all steps once."""
        if not self._upkeep.check_outage(OUTAGE_S, SETTLE_S):
            self.reap()
        self.send_unsent()
        if self._upkeep.claim_interval("resend", RESEND_INTERVAL_S):
            self.find_lost_messages()

    def reap(self) -> None:
        """Move the jobs and segments whose worker died, and fail the jobs whose segments took too long."""
        for unit, status in (self._upkeep.reap() | self._upkeep.reap_segments()).items():
            self._log.warning("lease ended job=%s now=%s", unit, status)
        for job_id in self._upkeep.end_slow(self._run_timeout_s):
            self._log.warning("out of time job=%s", job_id)

    def send_unsent(self) -> None:
        """Send the messages that wait to be sent; when one fails, it and the rest are left for the next time."""
        _send_all(self._upkeep.take_unsent(), self._outbox.send_job, self._upkeep.mark_unsent)
        _send_all(self._upkeep.take_unsent_units(), self._outbox.send_unit, self._upkeep.mark_unsent_units)

    def find_lost_messages(self) -> None:
        """Mark messages to be sent again when fewer lie in the broker than the records say were sent.

        The message of a job fits any waiting job, so as many are sent again as are missing. The message of a segment
        fits this segment alone, and nobody knows which one is missing. So the messages of all overdue segments are sent
        again: they are few at a time (see `take_unsent_segments.lua`), and a worker drops a message too many at once.
        After that the broker holds enough messages, so the next look sends no more. A further loss is noticed only when
        the extra messages are consumed, which happens as soon as a worker is free.
        """
        jobs = self._upkeep.overdue(RESEND_AFTER_S)
        if jobs:
            missing = max(0, self._upkeep.count_sent() - self._outbox.count_jobs())
            self._upkeep.mark_unsent(jobs[:missing])
        units = self._upkeep.overdue_units(RESEND_AFTER_S)
        if units and self._outbox.count_units() < self._upkeep.count_sent_units():
            self._upkeep.mark_unsent_units(units)


def _send_all(names: list[str], send: Callable[[str], None], mark_unsent: Callable[[list[str]], None]) -> None:
    for position, name in enumerate(names):
        try:
            send(name)
        except OperationalError:
            mark_unsent(names[position:])
            raise
