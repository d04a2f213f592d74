"""The thread that removes files: of expired jobs and uploads, of forms without a job, of dead processes on this host.

It runs in every service and every worker. It is not part of the reaper, because a storage that answers slowly must not
delay the jobs of dead workers.
"""

from __future__ import annotations

from typing import Final

import redis

from app.core.housekeeping.periodic import PeriodicThread
from app.core.records.upkeep import Upkeep
from app.core.storage.cache import Cache
from app.core.storage.port import Storage, StorageUnavailableError
from app.core.storage.workspace import Workspace

SWEEP_INTERVAL_S: Final = 30.0
ORPHANS_INTERVAL_S: Final = 300.0  # listing a whole storage is expensive: one process does it for all
ORPHAN_IDLE_S: Final = 3600.0  # at least: no upload has more time between its files and its record


class Sweeper(PeriodicThread):
    """Thread that removes files that no job needs."""

    def __init__(
        self,
        upkeep: Upkeep,
        storage: Storage,
        workspace: Workspace,
        cache: Cache,
        retention_s: float,
        interval_s: float = SWEEP_INTERVAL_S,
    ) -> None:
        """Keep a file that no record names for as long as the files of a job, at least ORPHAN_IDLE_S.

        Another service may use the same storage, or Redis may have been restored from an older copy.
        """
        # A removal that is cut off at the stop is done again later, so the stop need not wait for it.
        expected = (redis.RedisError, StorageUnavailableError, OSError)
        super().__init__("sweeper", interval_s, expected, stop_timeout_s=2)
        self._orphan_idle_s = max(ORPHAN_IDLE_S, retention_s)
        self._upkeep = upkeep
        self._storage = storage
        self._workspace = workspace
        self._cache = cache

    def run_once(self) -> None:
        """Sweep this host, and what all processes share if no other process did so within the interval."""
        self.sweep_host()
        if self._upkeep.claim_interval("sweep", self._interval_s):
            self.sweep_expired()
        if self._upkeep.claim_interval("orphans", ORPHANS_INTERVAL_S):
            self.sweep_orphans()

    def sweep_host(self) -> None:
        """Remove the files of dead processes on this host, inputs that no attempt here has used for a while, and cache
        entries that no job needs.
        """
        removed = self._workspace.sweep()
        if removed:
            self._log.info("leftovers removed folders=%d", removed)
        forgotten = self._cache.sweep(self._upkeep.keeps_files)
        if forgotten:
            self._log.info("cache entries removed entries=%d", forgotten)

    def sweep_expired(self) -> None:
        """Remove the files, later the records, of expired jobs, and the files of expired uploads."""
        while job_ids := self._upkeep.expire():
            for job_id in job_ids:
                self._storage.delete(job_id)
                self._log.info("expired job=%s", job_id)
        while upload_ids := self._upkeep.expire_uploads():
            for upload_id in upload_ids:
                self._storage.delete(upload_id)
                self._log.info("expired upload=%s", upload_id)

    def sweep_orphans(self) -> None:
        """Remove files that no record names: of uploads that never became a job, of deletions that were cut off."""
        for job_id in self._storage.idle_jobs(self._orphan_idle_s):
            if not self._upkeep.keeps_files(job_id):
                self._storage.delete(job_id)
                self._log.info("orphan removed job=%s", job_id)
