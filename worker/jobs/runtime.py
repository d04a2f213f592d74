"""Objects that the tasks of a pool child share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from app.core.jobs import JobInput, JobOptions
from app.core.records.records import Records
from app.core.records.segments import Segments
from app.core.settings import Settings
from app.core.storage.cache import Cache
from app.core.storage.port import Storage
from app.core.storage.workspace import Workspace
from worker.pipeline.run_context import FilePair, FinishedClip, PlannedClip, RunContext

if TYPE_CHECKING:  # importing this module loads neither torch nor OpenCV
    from worker.faces.detect import DetectorPool
    from worker.faces.look import FoundFace
    from worker.pipeline.synthesis import FaceSynthesizer


@dataclass(frozen=True)
class Pipeline:
    """Functions that render clips; `worker.pipeline.segments` has the real ones."""

    begin: Callable[[RunContext, Path, float], FinishedClip | PlannedClip]
    render_segment: Callable[[RunContext, FilePair, int, int], FilePair]
    join_segments: Callable[[RunContext, FilePair, Sequence[FilePair], Path, float], FinishedClip]


@dataclass(frozen=True)
class Runtime:
    """Connections, folders, network, detectors and functions of a pool child; `name` identifies it in the records.

    cache: None if nothing is kept from job to job.
    """

    name: str
    settings: Settings
    redis: redis.Redis
    records: Records
    segments: Segments
    storage: Storage
    workspace: Workspace
    synthesizer: FaceSynthesizer
    detectors: DetectorPool
    pipeline: Pipeline
    find_faces: Callable[[Settings, Path, JobInput, JobOptions], list[FoundFace]]
    is_stopping: Callable[[], bool]
    cache: Cache | None = None
