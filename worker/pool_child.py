"""One child process of the worker's pool: it loads the network once, announces itself, and does the tasks.

The parent makes the object before it forks. Each child then starts its own copy. Importing this module loads no torch.
"""

from __future__ import annotations

import logging
import mmap
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import redis

from app.core.files import file_sha256
from app.core.jobs import JobInput, JobOptions
from app.core.parent_death import die_with_parent
from app.core.records.connection import connect
from app.core.records.records import RecordLimits, Records, WorkerFacts, worker_name
from app.core.records.segments import Segments
from app.core.sandbox.forked import fork_server
from app.core.settings import Settings
from app.core.storage.open import open_cache, open_storage
from app.core.storage.workspace import Workspace
from app.core.version import service_version
from worker.jobs.runtime import Pipeline, Runtime

if TYPE_CHECKING:  # importing this module loads neither torch nor OpenCV
    from worker.faces.look import FoundFace
    from worker.pipeline.synthesis import FaceSynthesizer

ANNOUNCE_EVERY_S: Final = 3.0
EXIT_NOT_READY: Final = 70

_log = logging.getLogger("lipsync.worker")


@dataclass(frozen=True)
class WorkerParts:
    """Parts that a worker is built from; tests supply their own.

    settle: runs in the parent, returns the settings with what all children must have in common (runtime, video codecs),
    and raises LipSyncError if the network or an asked codec cannot be used. The other parts are used in the children.
    """

    settle: Callable[[Settings], Settings]
    load_synthesizer: Callable[[Settings], FaceSynthesizer]
    checkpoint_path: Callable[[Settings], Path]
    pipeline: Pipeline
    find_faces: Callable[[Settings, Path, JobInput, JobOptions], list[FoundFace]]


class PoolChild:
    """State of a pool child, and the signal to stop that the parent sends to all children.

    The signal is one byte of memory that the parent and its children share.
    """

    def __init__(self, settings: Settings, parts: WorkerParts) -> None:
        self._settings, self._parts = settings, parts
        self._parent_pid = os.getpid()
        self._runtime: Runtime | None = None
        self._stop_byte = mmap.mmap(-1, 1)  # anonymous and shared: it stays shared after a fork

    @property
    def runtime(self) -> Runtime:
        """Return the objects of this child; raises RuntimeError before `start`."""
        if self._runtime is None:
            raise RuntimeError("the task runs outside a pool child")
        return self._runtime

    def stop_all(self) -> None:
        """Signal all children to stop; called in the parent."""
        self._stop_byte[0] = 1

    def is_stopping(self) -> bool:
        """Return whether the parent signalled the children to stop."""
        return self._stop_byte[0] == 1

    def start(self) -> None:
        """Load the network, connect and announce this child; called in the child.

        A child that cannot do so ends its process, because Celery would still give it tasks.
        """
        try:
            die_with_parent(self._parent_pid)
            runtime = self._runtime = self._make_runtime()
            checkpoint = self._parts.checkpoint_path(self._settings)
        except Exception:  # noqa: BLE001  it is logged and ends the process
            _log.exception("the network could not be loaded")
            os._exit(EXIT_NOT_READY)
        threading.Thread(target=self._announce, args=(runtime, checkpoint), name="announce", daemon=True).start()
        network = runtime.synthesizer
        _log.info("ready device=%s runtime=%s precision=%s", network.device_name, network.runtime, network.precision)

    def _make_runtime(self) -> Runtime:
        from worker.faces.detect import DetectorPool
        from worker.media.sound_program import PROGRAM

        fork_server().load(PROGRAM)
        settings = self._settings
        client, limits = connect(settings.redis_url or ""), RecordLimits.of(settings)
        return Runtime(
            name=worker_name(os.getpid()),
            settings=settings,
            redis=client,
            records=Records(client, limits),
            segments=Segments(client, limits),
            storage=open_storage(settings),
            workspace=Workspace(settings.data_dir),
            synthesizer=self._parts.load_synthesizer(settings),
            detectors=DetectorPool(),
            pipeline=self._parts.pipeline,
            find_faces=self._parts.find_faces,
            is_stopping=self.is_stopping,
            cache=open_cache(settings) if settings.cache_bytes else None,
        )

    def _announce(self, runtime: Runtime, checkpoint: Path) -> None:
        """Announce repeatedly that this child is alive and has its network loaded."""
        facts = WorkerFacts(
            name=runtime.name,
            pid=os.getpid(),
            device=runtime.synthesizer.device_name,
            precision=runtime.synthesizer.precision,
            runtime=runtime.synthesizer.runtime,
            checkpoint=checkpoint.name,
            checkpoint_sha256=file_sha256(checkpoint),
            version=service_version(),
        )
        pause = threading.Event()
        while not self.is_stopping():
            try:
                runtime.records.announce(facts)
            except redis.RedisError as error:
                _log.debug("announcement failed error=%s", type(error).__name__)  # the reaper already warns about it
            pause.wait(ANNOUNCE_EVERY_S)
