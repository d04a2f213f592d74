"""The four tasks of a worker: do a job, do a segment of a job, join the segments of a job, find faces.

This module is thin. `app.core` defines what a job is, `worker.pipeline` renders it, and `worker.jobs.attempt` handles
the lease of an attempt. The attempt that claims a job finishes a short clip itself. It only plans a long clip: the plan
goes to the storage, and each segment, and finally the join, is an attempt of its own on any host.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from app.core.errors import InputError
from app.core.jobs import Job, JobInput, JobOptions
from app.core.queue import store_faces
from app.core.records.segments import SplitFacts, plan_names, segment_names
from app.core.storage.disk_space import work_bytes
from app.core.storage.port import StorageUnavailableError, keep_result, result_name
from worker.jobs.attempt import run_attempt
from worker.jobs.job_files import JobFiles
from worker.jobs.leases import JobLease, Lease, SegmentLease
from worker.jobs.monitor import JobMonitor
from worker.jobs.runtime import Runtime
from worker.jobs.unavailable import retry_while_unavailable
from worker.media.video_codecs import VideoCodecs
from worker.pipeline.run_context import FinishedClip, RunContext

RESULT_FILE: Final = "result.mp4"

_log = logging.getLogger("lipsync.worker")


def run_job(runtime: Runtime) -> None:
    """Do the job whose turn it is, if a job waits; raises only if Redis stays unavailable."""
    claim = runtime.records.claim(runtime.name, _claim_token())
    job = retry_while_unavailable(lambda: runtime.records.get(claim.job_id)) if claim is not None else None
    if claim is None or job is None:
        _log.info("nothing to do")
        return
    lease, monitor = JobLease(runtime.records, job.id, claim.attempt), _make_monitor(runtime)

    def work() -> str:
        known = retry_while_unavailable(lambda: runtime.segments.facts(job.id))
        if known is not None and _has_plan(runtime, job.id, known):  # a retry keeps the finished segments
            return _split(runtime, lease, known)
        with _opened(runtime, job, lease, monitor) as (files, context):
            done = runtime.pipeline.begin(context, files.work_dir / RESULT_FILE, runtime.settings.segment_s)
            if isinstance(done, FinishedClip):
                return _publish(runtime, lease, monitor, files, done, leaves_pieces=lease.attempt > 1)
            files.store_pair(plan_names(lease.attempt), done.plan)
        return _split(runtime, lease, SplitFacts(lease.attempt, done.segments, done.frames))

    run_attempt(lease, monitor, runtime.storage, work)


def run_segment(runtime: Runtime, job_id: str, number: int) -> None:
    """Do a segment if it still has to be done; raises only if Redis stays unavailable."""
    attempt = runtime.segments.claim(job_id, number, runtime.name, _claim_token())
    job, facts = _job_and_split(runtime, job_id)
    if attempt is None or job is None or facts is None:
        _log.info("nothing to do job=%s segment=%d", job_id, number)
        return
    lease, monitor = SegmentLease(runtime.segments, job_id, number, attempt), _make_monitor(runtime)
    names = segment_names(number, attempt)

    def work() -> str:
        with _opened(runtime, job, lease, monitor) as (files, context):
            segment = runtime.pipeline.render_segment(context, files.fetch_plan(facts.plan), number, facts.segments)
            frames = monitor.snapshot()[1].frames_done
            monitor.check()
            files.store_pair(names, segment)
        if retry_while_unavailable(lambda: lease.finish(frames)):
            return "done"
        files.remove_stored(*names)
        return "lost"

    run_attempt(lease, monitor, runtime.storage, work)


def join_job(runtime: Runtime, job_id: str) -> None:
    """Join the segments of a job if all are done and nobody joins them yet; raises only if Redis stays unavailable."""
    records, segments = runtime.records, runtime.segments
    attempt = segments.claim_join(job_id, runtime.name, _claim_token())
    job, facts = _job_and_split(runtime, job_id)
    if attempt is None or job is None or job.started_at is None or facts is None:
        _log.info("nothing to do job=%s join", job_id)
        return
    lease, monitor, started_at = JobLease(records, job_id, attempt), _make_monitor(runtime), job.started_at

    def work() -> str:
        with _opened(runtime, job, lease, monitor) as (files, context):
            plan = files.fetch_plan(facts.plan)
            attempts = retry_while_unavailable(lambda: segments.attempts(job_id, facts.segments))
            pieces = [files.fetch_segment(number, made_by) for number, made_by in enumerate(attempts)]
            waited_s = retry_while_unavailable(lambda: records.age_s(started_at))
            output = files.work_dir / RESULT_FILE
            clip = runtime.pipeline.join_segments(context, plan, pieces, output, waited_s)
            return _publish(runtime, lease, monitor, files, clip, leaves_pieces=True)

    run_attempt(lease, monitor, runtime.storage, work)


def find_faces(runtime: Runtime, upload_id: str, facts: str, options: str) -> None:
    """Find the people in an upload and send the answer to the front end that waits for it.

    facts, options: JobInput and JobOptions as JSON.
    """
    with runtime.workspace.inputs(upload_id) as folder:
        try:
            path = runtime.storage.fetch(upload_id, "video", folder)
        except FileNotFoundError:
            return  # the front end no longer waits
        asked = JobInput.model_validate_json(facts), JobOptions.model_validate_json(options)
        faces: list[dict[str, float]] = []
        with suppress(InputError):  # a job with these files and options would find nobody either
            faces = runtime.find_faces(runtime.settings, path, *asked)
        store_faces(runtime.redis, upload_id, faces)


@contextmanager
def _opened(runtime: Runtime, job: Job, lease: Lease, monitor: JobMonitor) -> Iterator[tuple[JobFiles, RunContext]]:
    """Provide the folders of an attempt and fetch the inputs; raises CapacityError(storage_full) before any fetch."""
    storage, workspace = runtime.storage, runtime.workspace
    with workspace.work_folder(job.id, lease.attempt) as work_dir, workspace.inputs(job.id) as inputs_dir:
        workspace.check_space(work_bytes(job.input, job.options))
        monitor.stage("fetch")
        files = JobFiles(storage, job.id, work_dir, inputs_dir, monitor.check)
        context = RunContext(
            files.fetch_sources(job.input, job.options),
            job.options,
            runtime.synthesizer,
            work_dir,
            monitor,
            runtime.detectors,
            runtime.settings.ffmpeg,
            runtime.cache.of_job(job.owner, job.id) if runtime.cache is not None else None,
            VideoCodecs.of(runtime.settings),
        )
        yield files, context


def _publish(
    runtime: Runtime,
    lease: JobLease,
    monitor: JobMonitor,
    files: JobFiles,
    clip: FinishedClip,
    *,
    leaves_pieces: bool,
) -> str:
    """Store and record the result, or remove it again if another attempt has taken over; return the outcome.

    leaves_pieces: the storage holds plan, segments or results of other attempts, which are removed.
    """
    monitor.stage("publish")
    monitor.check()
    name = result_name(lease.attempt)
    files.store(name, files.work_dir / RESULT_FILE)
    if not retry_while_unavailable(lambda: lease.succeed(clip)):
        files.remove_stored(name)
        return "lost"
    if leaves_pieces:
        with suppress(StorageUnavailableError):  # they are removed with the job at the latest
            keep_result(runtime.storage, lease.job_id, lease.attempt)
    return "succeeded"


def _split(runtime: Runtime, lease: JobLease, facts: SplitFacts) -> str:
    """Give up the lease of the job so that its segments can be claimed; return the outcome."""
    is_split = retry_while_unavailable(lambda: runtime.segments.split(lease.job_id, lease.attempt, facts))
    return "split" if is_split else "lost"


def _has_plan(runtime: Runtime, job_id: str, facts: SplitFacts) -> bool:
    return set(plan_names(facts.plan)) <= set(retry_while_unavailable(lambda: runtime.storage.names(job_id)))


def _job_and_split(runtime: Runtime, job_id: str) -> tuple[Job | None, SplitFacts | None]:
    return retry_while_unavailable(lambda: (runtime.records.get(job_id), runtime.segments.facts(job_id)))


def _make_monitor(runtime: Runtime) -> JobMonitor:
    return JobMonitor(runtime.settings.run_timeout_s, runtime.is_stopping)


def _claim_token() -> str:
    """Return a random token, so that a claim that is sent twice still counts as one claim."""
    return secrets.token_hex(8)
