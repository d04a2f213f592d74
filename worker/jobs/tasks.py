"""What a worker does when a message says so: a job, a segment of one, the join of all segments, a look for faces.

Thin on purpose: what a job is lies in `app.core`, how it is done in `worker.pipeline.render` and
`worker.pipeline.segments`, how an attempt lives in `worker.jobs.attempt`. A short clip is done by the attempt that
claimed the job. A long one is only planned by it: the plan is kept in the storage, and every segment, and at last the
join, is an attempt of its own, anywhere.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from app.core.jobs import Job
from app.core.queue import post_faces
from app.core.records.records import Records
from app.core.records.segments import Segments, SplitFacts, plan_names, segment_names
from app.core.settings import Settings
from app.core.storage.disk_space import work_bytes
from app.core.storage.port import Storage, StorageUnavailableError, keep_result, result_name
from app.core.storage.workspace import Workspace
from worker.jobs.attempt import Hold, JobMonitor, attend, patiently
from worker.pipeline.order import Files, Order, Outcome, Sources, Split

RESULT: Final = "result.mp4"

_log = logging.getLogger("lipsync.worker")


@dataclass(frozen=True)
class Pipeline:
    """How clips are done; see `worker.pipeline.segments`."""

    begin: Callable[[Order, Path, float], Outcome | Split]
    render_segment: Callable[[Order, Files, int, int], Files]
    join_segments: Callable[[Order, Files, Sequence[Files], Path, float], Outcome]


@dataclass(frozen=True)
class Runtime:
    """What a pool process works with; built once in it."""

    name: str
    settings: Settings
    redis: redis.Redis
    records: Records
    segments: Segments
    storage: Storage
    workspace: Workspace
    synthesizer: Any
    pipeline: Pipeline
    find_faces: Callable[[Settings, Path], list[dict[str, Any]]]
    is_stopping: Callable[[], bool]


class Desk:
    """Where one attempt works: its folders, its order, and its way to the storage."""

    def __init__(self, runtime: Runtime, job: Job, monitor: JobMonitor, work_dir: Path, inputs: Path) -> None:
        self._runtime, self._job, self._monitor = runtime, job, monitor
        self.work_dir, self._inputs = work_dir, inputs
        runtime.workspace.check_space(work_bytes(job.input, job.options))  # now, not in the middle
        monitor.stage("fetch")
        mix = self.fetch("audio_mix", inputs) if job.input.audio_mix else None
        sources = Sources(self.fetch("video", inputs), self.fetch("audio", inputs), mix, job.input)
        self.order = Order(sources, job.options, runtime.synthesizer, work_dir, monitor, runtime.settings.ffmpeg)

    def fetch(self, name: str, folder: Path) -> Path:
        """Bring a file of the job to this host."""
        move, check = self._runtime.storage.fetch, self._monitor.check
        return patiently(lambda: move(self._job.id, name, folder, check), check)

    def fetch_plan(self, attempt: int) -> Files:
        """Bring the plan to this host, where the next segments find it."""
        voice, decisions = plan_names(attempt)
        return Files(self.fetch(voice, self._inputs), self.fetch(decisions, self._inputs))

    def put(self, names: tuple[str, str], files: Files) -> None:
        """Keep two files that belong together."""
        for name, path in zip(names, (files.media, files.facts), strict=True):
            self.put_file(name, path)

    def put_file(self, name: str, path: Path) -> None:
        """Keep a file."""
        move, check = self._runtime.storage.put, self._monitor.check
        patiently(lambda: move(self._job.id, name, path, check), check)

    def succeed(self, attempt: int, outcome: Outcome, leaves_pieces: bool) -> str:
        """Publish the result, or take it back where another attempt has taken over; return a word for the log."""
        self._monitor.stage("publish")
        self._monitor.check()
        records, storage = self._runtime.records, self._runtime.storage
        job_id, name = self._job.id, result_name(attempt)
        self.put_file(name, self.work_dir / RESULT)
        if patiently(lambda: records.succeed(job_id, attempt, outcome.result, outcome.report, outcome.warnings)):
            if leaves_pieces:
                with suppress(StorageUnavailableError):  # they go with the job at the latest
                    keep_result(storage, job_id, attempt)
            return "succeeded"
        storage.remove(job_id, name)
        return "lost"


def run_job(runtime: Runtime) -> None:
    """Do the job whose turn it is, if any waits; raises only where Redis stays away."""
    claim = runtime.records.claim(runtime.name, secrets.token_hex(8))
    job = patiently(lambda: runtime.records.get(claim.job_id)) if claim is not None else None
    if claim is None or job is None:
        _log.info("nothing to do")
        return
    attempt, monitor = claim.attempt, _monitor(runtime)

    def work() -> str:
        known = patiently(lambda: runtime.segments.facts(job.id))
        if known is not None and _has_plan(runtime, job.id, known):  # tried again: what was finished stays so
            return _split(runtime, job.id, attempt, known)
        with _desk(runtime, job, attempt, monitor) as desk:
            done = runtime.pipeline.begin(desk.order, desk.work_dir / RESULT, runtime.settings.segment_s)
            if isinstance(done, Outcome):
                return desk.succeed(attempt, done, leaves_pieces=attempt > 1)
            desk.put(plan_names(attempt), done.plan)
        return _split(runtime, job.id, attempt, SplitFacts(attempt, done.segments, done.frames))

    attend(_job_hold(runtime, job.id, attempt), monitor, runtime.settings.run_timeout_s, work)


def _split(runtime: Runtime, job_id: str, attempt: int, facts: SplitFacts) -> str:
    return "split" if patiently(lambda: runtime.segments.split(job_id, attempt, facts)) else "lost"


def run_segment(runtime: Runtime, job_id: str, number: int) -> None:
    """Do one segment if it is still to be done; raises only where Redis stays away."""
    segments, storage = runtime.segments, runtime.storage
    attempt = segments.claim(job_id, number, runtime.name, secrets.token_hex(8))
    job, facts = _known(runtime, job_id)
    if attempt is None or job is None or facts is None:
        _log.info("nothing to do job=%s segment=%d", job_id, number)
        return
    monitor, names = _monitor(runtime), segment_names(number, attempt)
    hold = Hold(
        name=f"job={job_id} segment={number} attempt={attempt}",
        beat=lambda _, progress: segments.beat(job_id, number, attempt, progress.frames_done),
        hand_back=lambda: segments.hand_back(job_id, number, attempt),
        lose=lambda: segments.lose(job_id, number, attempt),
        fail=lambda error: segments.fail(job_id, number, attempt, error),
        cancel=lambda: False,  # a split job is canceled at once: its segments only lose their leases
        is_cut_off=lambda: _is_cut_off(runtime, job_id),
    )

    def work() -> str:
        with _desk(runtime, job, attempt, monitor) as desk:
            plan = desk.fetch_plan(facts.plan)
            made = runtime.pipeline.render_segment(desk.order, plan, number, facts.segments)
            frames = monitor.snapshot()[1].frames_done
            monitor.check()
            desk.put(names, made)
        if patiently(lambda: segments.finish(job_id, number, attempt, frames)):
            return "done"
        for name in names:
            storage.remove(job_id, name)
        return "lost"

    attend(hold, monitor, runtime.settings.run_timeout_s, work)


def join_job(runtime: Runtime, job_id: str) -> None:
    """Join the segments of a job if all are done and nobody has; raises only where Redis stays away."""
    records, segments = runtime.records, runtime.segments
    attempt = segments.claim_join(job_id, runtime.name, secrets.token_hex(8))
    job, facts = _known(runtime, job_id)
    if attempt is None or job is None or job.started_at is None or facts is None:
        _log.info("nothing to do job=%s join", job_id)
        return
    monitor, started_at = _monitor(runtime), job.started_at

    def work() -> str:
        with _desk(runtime, job, attempt, monitor) as desk:
            plan = desk.fetch_plan(facts.plan)
            pieces = []
            for number, tried in enumerate(patiently(lambda: segments.attempts(job_id, facts.segments))):
                pictures, findings = segment_names(number, tried)
                pieces.append(Files(desk.fetch(pictures, desk.work_dir), desk.fetch(findings, desk.work_dir)))
            waited_s = patiently(lambda: records.age_s(started_at))
            outcome = runtime.pipeline.join_segments(desk.order, plan, pieces, desk.work_dir / RESULT, waited_s)
            return desk.succeed(attempt, outcome, leaves_pieces=True)

    attend(_job_hold(runtime, job_id, attempt), monitor, runtime.settings.run_timeout_s, work)


def find_faces(runtime: Runtime, upload_id: str) -> None:
    """Look for faces in one frame of an upload and leave the answer for the API that waits."""
    with runtime.workspace.inputs(upload_id) as folder:
        try:
            path = runtime.storage.fetch(upload_id, "video", folder)
        except FileNotFoundError:
            return  # the API waits no more
        post_faces(runtime.redis, upload_id, runtime.find_faces(runtime.settings, path))


def _has_plan(runtime: Runtime, job_id: str, facts: SplitFacts) -> bool:
    return set(plan_names(facts.plan)) <= set(patiently(lambda: runtime.storage.names(job_id)))


def _known(runtime: Runtime, job_id: str) -> tuple[Job | None, SplitFacts | None]:
    return patiently(lambda: (runtime.records.get(job_id), runtime.segments.facts(job_id)))


def _monitor(runtime: Runtime) -> JobMonitor:
    return JobMonitor(runtime.settings.run_timeout_s, runtime.is_stopping)


def _job_hold(runtime: Runtime, job_id: str, attempt: int) -> Hold:
    records = runtime.records
    return Hold(
        name=f"job={job_id} attempt={attempt}",
        beat=lambda stage, progress: records.beat(job_id, attempt, stage, progress),
        hand_back=lambda: records.hand_back(job_id, attempt),
        lose=lambda: records.lose(job_id, attempt),
        fail=lambda error: records.fail(job_id, attempt, error),
        cancel=lambda: records.end_canceled(job_id, attempt),
        is_cut_off=lambda: _is_cut_off(runtime, job_id),
    )


def _is_cut_off(runtime: Runtime, job_id: str) -> bool:
    try:
        runtime.storage.names(job_id)
    except StorageUnavailableError:
        return True
    return False


@contextmanager
def _desk(runtime: Runtime, job: Job, attempt: int, monitor: JobMonitor) -> Iterator[Desk]:
    workspace = runtime.workspace
    with workspace.work_folder(job.id, attempt) as work_dir, workspace.inputs(job.id) as inputs:
        yield Desk(runtime, job, monitor, work_dir, inputs)
