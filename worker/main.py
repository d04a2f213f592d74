"""The worker process: a Celery parent that delivers tasks to pool children, which do the jobs.

The parent verifies the checkpoint before it takes a job, runs the reaper and the sweeper, and uses neither CUDA nor the
network. When the parent is asked to stop, it signals its children. They finish a job that is nearly done, and hand
back any other within a second. Importing this module loads no torch.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable

from celery import Celery, signals
from celery.platforms import SecurityWarning

from app.core.housekeeping.reaper import Reaper
from app.core.housekeeping.sweeper import Sweeper
from app.core.queue import (
    FACES_QUEUE,
    JOBS_QUEUE,
    SEGMENTS_QUEUE,
    TASK_FIND_FACES,
    TASK_JOIN_JOB,
    TASK_RUN_JOB,
    TASK_RUN_SEGMENT,
    CeleryOutbox,
    make_celery,
)
from app.core.records.connection import connect
from app.core.records.records import RecordLimits
from app.core.records.upkeep import Upkeep
from app.core.settings import Settings
from app.core.storage.open import open_cache, open_storage
from app.core.storage.workspace import Workspace
from worker.jobs import tasks
from worker.jobs.runtime import Pipeline
from worker.pool_child import PoolChild, WorkerParts


def run_worker(settings: Settings, parts: WorkerParts | None = None) -> int:
    """Work until SIGTERM or SIGINT; return the exit status.

    Raises LipSyncError(checkpoint_missing, checkpoint_invalid, option_invalid) before any job is taken, ValueError
    without Redis.
    """
    parts = parts or default_parts()
    celery = make_celery(settings)
    child = PoolChild(parts.settle(settings), parts)
    _register_tasks(celery, child)
    _connect_signals(child, _make_housekeepers(settings))
    warnings.simplefilter("ignore", SecurityWarning)  # about root and pickle: this worker only accepts JSON
    worker = celery.Worker(
        queues=[JOBS_QUEUE, SEGMENTS_QUEUE, FACES_QUEUE],
        hostname=f"lipsync-{os.getpid()}@{socket.gethostname()}",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def default_parts() -> WorkerParts:
    """Return the parts of a real worker."""
    from worker.faces.look import find_faces_in
    from worker.loaded_network import checkpoint_path, load_generator, settle_network
    from worker.media.codec_choice import settle_codecs
    from worker.pipeline.segments import begin, join_segments, render_segment

    def settle(settings: Settings) -> Settings:
        return settle_codecs(settle_network(settings))

    pipeline = Pipeline(begin, render_segment, join_segments)
    return WorkerParts(settle, load_generator, checkpoint_path, pipeline, find_faces_in)


def _register_tasks(celery: Celery, child: PoolChild) -> None:
    """Register the tasks under the names that the front end sends."""

    def run_job(job_id: str) -> None:
        """Do the job whose turn it is, which may differ from the job of the message."""
        tasks.run_job(child.runtime)

    def run_segment(job_id: str, number: int) -> None:
        """Do one segment of a job."""
        tasks.run_segment(child.runtime, job_id, number)

    def join_job(job_id: str) -> None:
        """Join the segments of a job."""
        tasks.join_job(child.runtime, job_id)

    def find_faces(upload_id: str, facts: str, options: str) -> None:
        """Find the people in an upload."""
        tasks.find_faces(child.runtime, upload_id, facts, options)

    named: dict[str, Callable[..., None]] = {
        TASK_RUN_JOB: run_job,
        TASK_RUN_SEGMENT: run_segment,
        TASK_JOIN_JOB: join_job,
        TASK_FIND_FACES: find_faces,
    }
    for name, function in named.items():
        celery.task(function, name=name, shared=False)


def _make_housekeepers(settings: Settings) -> tuple[Reaper, Sweeper]:
    """Return the threads of the parent; their Celery object is their own, because the worker's has an event loop."""
    client, limits = connect(settings.redis_url or ""), RecordLimits.of(settings)
    workspace = Workspace(settings.data_dir)
    workspace.prepare()
    upkeep = Upkeep(client, limits)
    reaper = Reaper(upkeep, CeleryOutbox(make_celery(settings)), settings.run_timeout_s)
    return reaper, Sweeper(upkeep, open_storage(settings), workspace, open_cache(settings), settings.retention_s)


def _connect_signals(child: PoolChild, housekeepers: tuple[Reaper, Sweeper]) -> None:
    """Connect the start of a child, the start of the parent and the stop to Celery's signals."""

    def on_child_start(**_: object) -> None:
        child.start()

    def on_ready(**_: object) -> None:
        for thread in housekeepers:
            thread.start()  # after the first forks, so that the children copy no running thread

    def on_stop(**_: object) -> None:
        child.stop_all()

    signals.worker_process_init.connect(on_child_start, weak=False)
    signals.worker_ready.connect(on_ready, weak=False)
    signals.worker_shutting_down.connect(on_stop, weak=False)
    signals.setup_logging.connect(lambda **_: None, weak=False)  # a receiver keeps Celery from changing our logging
