"""One attempt at one job: claim it, run the pipeline, publish, with a heartbeat that holds the lease meanwhile.

Thin on purpose: what a job is lies in `app.core`, how it is done in `worker.pipeline`. Whatever happens, the record
says it: only the attempt that holds the lease can end the job, and an attempt that lost it leaves no trace.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import redis

from app.core.errors import ErrorCode, LipSyncError, RequestError, ServiceError, error_payload, public_error
from app.core.jobs import Job, Progress
from app.core.queue import post_faces
from app.core.records import Beat, Records
from app.core.room import work_bytes
from app.core.settings import Settings
from app.core.storage import Check, Storage, StorageAwayError, go_on, keep_result, result_name
from app.core.workspace import Workspace

if TYPE_CHECKING:
    from worker.pipeline import Outcome

HEARTBEAT_S: Final = 0.7
OVERRUN_S: Final = 30.0  # past its time limit by this, a job that does not stop is ended over its head
PATIENCE_S: Final = 300.0  # how long an attempt waits for a Redis or a storage that is away

_log = logging.getLogger("lipsync.worker")
_T = TypeVar("_T")


class AttemptLostError(ServiceError):
    """Stop an attempt whose lease went to another, or whose job is gone: nothing of it may be published."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.WORKER_LOST, "Another attempt has taken over.")


class HandedBackError(ServiceError):
    """Stop an attempt because its worker is asked to end: the job goes back into the queue."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.WORKER_LOST, "The worker is ending.")


@dataclass(frozen=True)
class Runtime:
    """What a pool process works with; built once in it."""

    name: str
    settings: Settings
    redis: redis.Redis
    records: Records
    storage: Storage
    workspace: Workspace
    synthesizer: Any
    run: Callable[..., Outcome]
    find_faces: Callable[[Settings, Path], list[dict[str, Any]]]
    is_stopping: Callable[[], bool]


class JobMonitor:
    """Carry progress out of the pipeline and the wish to stop into it; the pipeline's `Monitor`."""

    def __init__(self, run_timeout_s: float, is_stopping: Callable[[], bool]) -> None:
        self._lock = threading.Lock()
        self._started_at = time.monotonic()
        self._run_timeout_s = run_timeout_s
        self._is_stopping = is_stopping
        self._answer = Beat.OK
        self._stage = "start"
        self._frames = (0, 0)
        self._first: tuple[float, int] | None = None  # when frames were first counted, and how many

    def stage(self, name: str) -> None:
        """Say which stage begins."""
        with self._lock:
            self._stage = name

    def frames(self, done: int, total: int) -> None:
        """Say how many frames of the output are done."""
        with self._lock:
            if self._first is None:
                self._first = (time.monotonic(), done)
            self._frames = (done, total)

    def check(self) -> None:
        """Raise where the attempt has to stop: lost, canceled, handed back or out of time."""
        if self._answer is Beat.LOST:
            raise AttemptLostError
        if self._answer is Beat.CANCEL:
            raise RequestError(ErrorCode.CANCELED, "The job was canceled.")
        if self._is_stopping():
            raise HandedBackError
        if self.elapsed_s > self._run_timeout_s:
            raise ServiceError(ErrorCode.RUN_TIMEOUT, f"The job took longer than {self._run_timeout_s:g} s.")

    @property
    def elapsed_s(self) -> float:
        """Return the age of the attempt."""
        return time.monotonic() - self._started_at

    def heed(self, answer: Beat) -> None:
        """Take what Redis answered to the heartbeat."""
        self._answer = answer

    def snapshot(self) -> tuple[str, Progress]:
        """Return the stage and how far the attempt is."""
        with self._lock:
            stage, (done, total), (first_at, first_done) = self._stage, self._frames, self._first or (0.0, 0)
        fps = (done - first_done) / (time.monotonic() - first_at) if done > first_done else 0.0
        return stage, Progress(
            percent=round(min(99.9, 100 * done / total), 1) if total else 0.0,
            frames_done=done,
            frames_total=total,
            fps=round(fps, 2),
            eta_s=round((total - done) / fps, 1) if fps > 0 and total else None,
        )


class Heartbeat:
    """Renew the lease of an attempt from a thread, and pass Redis' answer to the monitor."""

    def __init__(self, records: Records, job_id: str, attempt: int, monitor: JobMonitor, overrun_at_s: float) -> None:
        self._records = records
        self._job_id = job_id
        self._attempt = attempt
        self._monitor = monitor
        self._overrun_at_s = overrun_at_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{job_id[:8]}", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        is_away = False
        while not self._done.is_set():
            try:
                answer = self._records.beat(self._job_id, self._attempt, *self._monitor.snapshot())
                self._monitor.heed(answer)
                if self._monitor.elapsed_s > self._overrun_at_s:
                    error = ServiceError(ErrorCode.RUN_TIMEOUT, "The job took too long and did not stop.")
                    self._records.fail(self._job_id, self._attempt, error_payload(error, None))
                is_away = False
            except redis.RedisError as error:
                if not is_away:
                    _log.warning("heartbeat failed job=%s error=%s", self._job_id, type(error).__name__)
                is_away = True
            self._done.wait(HEARTBEAT_S)


def run_job(runtime: Runtime) -> None:
    """Do the job whose turn it is, if any waits; raises only where Redis stays away."""
    records = runtime.records
    claim = records.claim(runtime.name, secrets.token_hex(8))
    job = records.get(claim.job_id) if claim is not None else None
    if claim is None or job is None:
        _log.info("nothing to do")
        return
    attempt = claim.attempt
    _log.info("claimed job=%s attempt=%d", job.id, attempt)
    limit_s = runtime.settings.run_timeout_s
    monitor = JobMonitor(limit_s, runtime.is_stopping)
    with Heartbeat(records, job.id, attempt, monitor, limit_s + OVERRUN_S):
        outcome = _attempt(runtime, job, attempt, monitor)
    _log.info("ended job=%s attempt=%d outcome=%s seconds=%.1f", job.id, attempt, outcome, monitor.elapsed_s)


def _attempt(runtime: Runtime, job: Job, attempt: int, monitor: JobMonitor) -> str:
    """Try once and record how it ended; return a word for the log."""
    records, workspace = runtime.records, runtime.workspace
    try:
        with workspace.work_folder(job.id, attempt) as work_dir, workspace.inputs(job.id) as inputs:
            return _produce(runtime, job, attempt, work_dir, inputs, monitor)
    except AttemptLostError:
        return "lost"
    except HandedBackError:
        return "handed back" if _patiently(lambda: records.hand_back(job.id, attempt)) else "lost"
    except Exception as error:  # noqa: BLE001  whatever it was, the job's record has to say so
        return _record_failure(records, job.id, attempt, error, monitor.snapshot()[0])


def _produce(
    runtime: Runtime, job: Job, attempt: int, work_dir: Path, inputs: Path, monitor: JobMonitor
) -> str:
    from worker.pipeline import Sources  # brings the media libraries, which only a pool child needs

    storage = runtime.storage

    def fetch(name: str) -> Path:
        return _patiently(lambda: storage.fetch(job.id, name, inputs, monitor.check), monitor.check)

    runtime.workspace.check_room(work_bytes(job.input, job.options))  # now, not in the middle
    monitor.stage("fetch")
    mix = fetch("audio_mix") if job.input.audio_mix else None
    sources = Sources(fetch("video"), fetch("audio"), mix, job.input)
    output = work_dir / "result.mp4"
    outcome = runtime.run(
        sources, job.options, runtime.synthesizer, output, work_dir, monitor, ffmpeg=runtime.settings.ffmpeg)
    monitor.stage("publish")
    monitor.check()
    name = result_name(attempt)
    _patiently(lambda: storage.put(job.id, name, output, monitor.check), monitor.check)
    accepted = _patiently(
        lambda: runtime.records.succeed(job.id, attempt, outcome.result, outcome.report, outcome.warnings))
    if not accepted:
        storage.remove(job.id, name)
        return "lost"
    if attempt > 1:
        with suppress(StorageAwayError):  # they go with the job at the latest
            keep_result(storage, job.id, attempt)
    return "succeeded"


def _record_failure(records: Records, job_id: str, attempt: int, error: Exception, stage: str) -> str:
    shown = public_error(error)
    if shown.code is ErrorCode.CANCELED:
        return "canceled" if _patiently(lambda: records.end_canceled(job_id, attempt)) else "lost"
    if not isinstance(error, LipSyncError):
        _log.error("failed job=%s stage=%s", job_id, stage, exc_info=error)
    recorded = _patiently(lambda: records.fail(job_id, attempt, error_payload(shown, stage)))
    return str(shown.code) if recorded else "lost"


def _patiently(move: Callable[[], _T], check: Check = go_on) -> _T:
    """Make a move, again and again while Redis or the storage is away; raises what it raised after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return move()
        except (redis.ConnectionError, redis.TimeoutError, StorageAwayError):
            if time.monotonic() > deadline:
                raise
            check()
            time.sleep(1.0)


def find_faces(runtime: Runtime, upload_id: str) -> None:
    """Look for faces in one frame of an upload and leave the answer for the API that waits."""
    with runtime.workspace.inputs(upload_id) as folder:
        try:
            path = runtime.storage.fetch(upload_id, "video", folder)
        except FileNotFoundError:
            return  # the API waits no more
        post_faces(runtime.redis, upload_id, runtime.find_faces(runtime.settings, path))
