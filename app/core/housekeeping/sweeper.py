"""The thread that gives every file an end: expired jobs, what crashes left in the storage, and this host's leftovers.

It runs wherever a service or a worker runs, beside the reaper and not in it, because a storage that answers slowly must
not hold up the jobs of dead workers.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

import redis

from app.core.records.records import Records
from app.core.storage.port import Storage, StorageUnavailableError
from app.core.storage.workspace import Workspace

SWEEP_INTERVAL_S: Final = 30.0
ORPHANS_INTERVAL_S: Final = 300.0  # listing a whole storage costs: once for all processes
ORPHAN_IDLE_S: Final = 3600.0  # at least: longer than any upload rests between its files and its record

_log = logging.getLogger("lipsync.sweeper")


class Sweeper:
    """Remove what nobody needs, until stopped; never what a job may still need."""

    def __init__(
        self,
        records: Records,
        storage: Storage,
        workspace: Workspace,
        retention_s: float,
        interval_s: float = SWEEP_INTERVAL_S,
    ) -> None:
        """A file that no record names goes when it would have expired anyway.

        For the storage may be another service's too, and Redis may have been restored from yesterday.
        """
        self._orphan_idle_s = max(ORPHAN_IDLE_S, retention_s)
        self._records = records
        self._storage = storage
        self._workspace = workspace
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it briefly: a removal that is cut off is made again."""
        self._stop.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self.sweep_host()
                if self._records.only_once("sweep", self._interval_s):
                    self.sweep_expired()
                if self._records.only_once("orphans", ORPHANS_INTERVAL_S):
                    self.sweep_orphans()
            except (redis.RedisError, StorageUnavailableError, OSError) as error:
                _log.warning("sweep failed error=%s", type(error).__name__)

    def sweep_host(self) -> None:
        """Remove what dead processes left on this host, and inputs that no attempt here has used for a while."""
        removed = self._workspace.sweep()
        if removed:
            _log.info("leftovers removed folders=%d", removed)

    def sweep_expired(self) -> None:
        """Remove the files, later the records, of jobs that have expired."""
        while job_ids := self._records.expire():
            for job_id in job_ids:
                self._storage.delete(job_id)
                _log.info("expired job=%s", job_id)

    def sweep_orphans(self) -> None:
        """Remove files that no record keeps: of uploads never accepted, of deletions that broke off."""
        for job_id in self._storage.idle_jobs(self._orphan_idle_s):
            if not self._records.keeps_files(job_id):
                self._storage.delete(job_id)
                _log.info("orphan removed job=%s", job_id)
