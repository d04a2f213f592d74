"""The worker process: a Celery parent that delivers, and pool children that hold the network and do the jobs.

The parent checks the checkpoint before it takes a job, runs reaper and sweeper, and touches neither CUDA nor the
network; each child loads the network once. Importing this module loads no torch. When the parent is told to end, a byte
of memory shared with the children says so, and running jobs are handed back to the queue within a second.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import socket
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis
from celery import Celery, signals
from celery.platforms import SecurityWarning

from app.core.housekeeping.reaper import Reaper
from app.core.housekeeping.sweeper import Sweeper
from app.core.parent_death import die_with_parent
from app.core.queue import (
    FACES_QUEUE,
    JOBS_QUEUE,
    SEGMENTS_QUEUE,
    TASK_FIND_FACES,
    TASK_JOIN_JOB,
    TASK_RUN_JOB,
    TASK_RUN_SEGMENT,
    CeleryOutbox,
    configure,
    make_celery,
)
from app.core.records.connection import connect
from app.core.records.records import RecordLimits, Records, WorkerFacts
from app.core.records.segments import Segments
from app.core.records.upkeep import Upkeep
from app.core.settings import Settings
from app.core.storage.open import open_storage
from app.core.storage.workspace import Workspace
from app.core.version import service_version
from worker.jobs import tasks
from worker.jobs.tasks import Pipeline, Runtime

ANNOUNCE_S: Final = 3.0
EXIT_REFUSED: Final = 70

_log = logging.getLogger("lipsync.worker")

celery = Celery("lipsync", set_as_current=False)


@dataclass(frozen=True)
class Engine:
    """What a worker is built around; tests hand in their own.

    `verify` runs in the parent and raises where the checkpoint cannot be used; `load` and the rest run in each child.
    """

    verify: Callable[[Settings], None]
    load: Callable[[Settings], Any]
    checkpoint: Callable[[Settings], Path]
    pipeline: Pipeline
    find_faces: Callable[[Settings, Path], list[dict[str, Any]]]


class _Host:
    """Hold what a pool child has built, and the word to stop that the parent gives all children."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self._stop_byte = mmap.mmap(-1, 1)  # anonymous and shared: a fork keeps seeing the same byte

    def stop(self) -> None:
        self._stop_byte[0] = 1

    def is_stopping(self) -> bool:
        return self._stop_byte[0] == 1

    def use(self) -> Runtime:
        if self.runtime is None:
            raise RuntimeError("the task runs outside a pool child")
        return self.runtime


_host: Final = _Host()


@celery.task(name=TASK_RUN_JOB)  # type: ignore[untyped-decorator]
def run_job(job_id: str) -> None:
    """Do one job: the one whose turn it is, which need not be the one that the message was sent for."""
    tasks.run_job(_host.use())


@celery.task(name=TASK_RUN_SEGMENT)  # type: ignore[untyped-decorator]
def run_segment(job_id: str, number: int) -> None:
    """Do one segment of a job."""
    tasks.run_segment(_host.use(), job_id, number)


@celery.task(name=TASK_JOIN_JOB)  # type: ignore[untyped-decorator]
def join_job(job_id: str) -> None:
    """Join the segments of a job."""
    tasks.join_job(_host.use(), job_id)


@celery.task(name=TASK_FIND_FACES)  # type: ignore[untyped-decorator]
def find_faces(upload_id: str) -> None:
    """Look for faces in one frame of an upload."""
    tasks.find_faces(_host.use(), upload_id)


def default_engine() -> Engine:
    """Return the real one; imports torch only when used."""
    from worker.faces.look import find_faces_in
    from worker.loaded_network import checkpoint_path, load, verify
    from worker.pipeline.segments import begin, join_segments, render_segment

    return Engine(verify, load, checkpoint_path, Pipeline(begin, render_segment, join_segments), find_faces_in)


def _build_runtime(settings: Settings, engine: Engine) -> Runtime:
    """Load the network and connect, in a pool child."""
    client, limits = connect(settings.redis_url or ""), RecordLimits.of(settings)
    return Runtime(
        name=f"{socket.gethostname()}-{os.getpid()}",
        settings=settings,
        redis=client,
        records=Records(client, limits),
        segments=Segments(client, limits),
        storage=open_storage(settings),
        workspace=Workspace(settings.data_dir),
        synthesizer=engine.load(settings),
        pipeline=engine.pipeline,
        find_faces=engine.find_faces,
        is_stopping=_host.is_stopping,
    )


def _announce(runtime: Runtime, checkpoint: Path) -> None:
    """Say again and again that this child lives with its network loaded."""
    synthesizer = runtime.synthesizer
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    facts = WorkerFacts(
        name=runtime.name,
        pid=os.getpid(),
        device=synthesizer.device_name,
        precision=synthesizer.precision,
        checkpoint=checkpoint.name,
        checkpoint_sha256=digest,
        version=service_version(),
    )
    pause = threading.Event()
    while not runtime.is_stopping():
        try:
            runtime.records.announce(facts)
        except redis.RedisError as error:
            _log.debug("announcement failed error=%s", type(error).__name__)  # the reaper says it already
        pause.wait(ANNOUNCE_S)


def _start_child(settings: Settings, engine: Engine, parent_pid: int) -> None:
    """Prepare a pool child; one that cannot be prepared ends, because Celery would let it take jobs."""
    try:
        die_with_parent(parent_pid)
        runtime = _host.runtime = _build_runtime(settings, engine)
        checkpoint = engine.checkpoint(settings)
    except Exception:  # noqa: BLE001  logged here, and it ends the process
        _log.exception("the network could not be loaded")
        os._exit(EXIT_REFUSED)
    threading.Thread(target=_announce, args=(runtime, checkpoint), name="announce", daemon=True).start()
    _log.info("ready device=%s precision=%s", runtime.synthesizer.device_name, runtime.synthesizer.precision)


def _make_keepers(settings: Settings) -> tuple[Reaper, Sweeper]:
    """Return the parent's threads, with a Celery object of their own: the worker's belongs to its event loop."""
    client, limits = connect(settings.redis_url or ""), RecordLimits.of(settings)
    workspace = Workspace(settings.data_dir)
    workspace.prepare()
    sender = make_celery(settings)
    upkeep = Upkeep(client, limits)
    reaper = Reaper(upkeep, CeleryOutbox(sender), settings.run_timeout_s)
    return reaper, Sweeper(upkeep, open_storage(settings), workspace, settings.retention_s)


def run_worker(settings: Settings, engine: Engine | None = None) -> int:
    """Work until SIGTERM or SIGINT; return the exit status.

    Raises LipSyncError(checkpoint_missing, checkpoint_invalid) before any job is taken, ValueError without Redis.
    """
    engine = engine or default_engine()
    configure(celery, settings)
    engine.verify(settings)
    keepers = _make_keepers(settings)
    parent_pid = os.getpid()

    def on_child(**_: Any) -> None:
        _start_child(settings, engine, parent_pid)

    def on_ready(**_: Any) -> None:
        for keeper in keepers:
            keeper.start()  # after the first forks, so that they copy no running thread

    def on_stop(**_: Any) -> None:
        _host.stop()

    signals.worker_process_init.connect(on_child, weak=False)
    signals.worker_ready.connect(on_ready, weak=False)
    signals.worker_shutting_down.connect(on_stop, weak=False)
    signals.setup_logging.connect(lambda **_: None, weak=False)  # ours stays
    warnings.simplefilter("ignore", SecurityWarning)  # about root and pickle: only JSON is accepted here
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
