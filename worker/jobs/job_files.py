"""Files of a job on this host, and their copies from and to the storage."""

from __future__ import annotations

from pathlib import Path

from app.core.checks import Check
from app.core.dubs import voice_names
from app.core.jobs import JobInput, JobOptions
from app.core.records.segments import plan_names, segment_names
from app.core.storage.port import Storage
from worker.jobs.unavailable import retry_while_unavailable
from worker.pipeline.run_context import FilePair, Sources


class JobFiles:
    """Files of one attempt at a job.

    work_dir: folder of the attempt alone. inputs_dir: folder of fetched files, shared by the attempts on this host.
    While the storage is unavailable, every copy is tried again; `check` may raise to stop it.
    """

    def __init__(self, storage: Storage, job_id: str, work_dir: Path, inputs_dir: Path, check: Check) -> None:
        self._storage, self._job_id, self._check = storage, job_id, check
        self.work_dir, self._inputs_dir = work_dir, inputs_dir

    def fetch_sources(self, facts: JobInput, options: JobOptions) -> Sources:
        """Fetch the input files of the job."""
        parts = ["audio"] * (facts.audio is not None) + ["audio_mix"] * (facts.audio_mix is not None)
        names = dict.fromkeys(["video", *parts, *voice_names(options.segments)])
        return Sources.of_files({name: self._fetch(name, self._inputs_dir) for name in names}, facts, options)

    def fetch_plan(self, attempt: int) -> FilePair:
        """Fetch the plan that an attempt made, into the shared folder."""
        sound, decisions = plan_names(attempt)
        return FilePair(self._fetch(sound, self._inputs_dir), self._fetch(decisions, self._inputs_dir))

    def fetch_segment(self, number: int, attempt: int) -> FilePair:
        """Fetch the segment that an attempt made, into the folder of this attempt."""
        media, facts = segment_names(number, attempt)
        return FilePair(self._fetch(media, self.work_dir), self._fetch(facts, self.work_dir))

    def store(self, name: str, path: Path) -> None:
        """Store a file under a name."""
        retry_while_unavailable(lambda: self._storage.put(self._job_id, name, path, self._check), self._check)

    def store_pair(self, names: tuple[str, str], files: FilePair) -> None:
        """Store a media file and its file of facts under two names."""
        for name, path in zip(names, (files.media, files.facts), strict=True):
            self.store(name, path)

    def remove_stored(self, *names: str) -> None:
        """Remove files from the storage."""
        for name in names:
            self._storage.remove(self._job_id, name)

    def _fetch(self, name: str, folder: Path) -> Path:
        """Return the path of a stored file on this host; it is copied into the folder if need be."""
        return retry_while_unavailable(
            lambda: self._storage.fetch(self._job_id, name, folder, self._check), self._check
        )
