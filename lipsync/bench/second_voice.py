"""How much less a job costs if an earlier job had the same video: the second voice divided by the first one.

Both jobs show all frames of the film, and the second one uses what the first one kept.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app.core.jobs import JobInput, JobOptions, VideoFacts, new_job_id
from app.core.probing.probe import Limits, probe_audio, probe_video
from app.core.settings import Settings
from app.core.storage.cache import Cache, JobCache
from lipsync.bench.process_costs import tree_cpu_s
from lipsync.sample import VOICE

if TYPE_CHECKING:
    from worker.faces.detect import DetectorPool
    from worker.pipeline.synthesis import FaceSynthesizer


class Cost(NamedTuple):
    """Wall and processor seconds of a job."""

    wall_s: float
    cpu_s: float


class _Bench(NamedTuple):
    """What all measured jobs share."""

    settings: Settings
    clip: Path
    video: VideoFacts
    synthesizer: FaceSynthesizer
    detectors: DetectorPool
    folder: Path


def measure_second_voice(clip: Path, runs: int, settings: Settings) -> dict[str, Any]:
    """Measure a film with its own voice and then with another one, `runs` times, each time with an empty cache.

    Returns {first: {wall_s, cpu_s}, second: {wall_s, cpu_s}, wall_ratio, cpu_ratio}, which are medians.
    """
    from worker.faces.detect import DetectorPool
    from worker.loaded_network import load_generator

    video, synthesizer, pairs = probe_video(clip, Limits.of(settings)), load_generator(settings), []
    with DetectorPool() as detectors, tempfile.TemporaryDirectory() as name:
        bench = _Bench(settings, clip, video, synthesizer, detectors, Path(name))
        _cost_of_job(bench, clip, None)  # warms up
        for number in range(runs):
            cache = Cache(bench.folder / str(number), settings.cache_bytes)
            pairs.append([_cost_of_job(bench, voice, cache.of_job("", new_job_id())) for voice in (clip, VOICE)])
    first, second = (Cost(*map(statistics.median, zip(*costs, strict=True))) for costs in zip(*pairs, strict=True))
    return {
        "first": first._asdict(),
        "second": second._asdict(),
        "wall_ratio": statistics.median(later.wall_s / earlier.wall_s for earlier, later in pairs),
        "cpu_ratio": statistics.median(later.cpu_s / earlier.cpu_s for earlier, later in pairs),
    }


def _cost_of_job(bench: _Bench, voice: Path, cache: JobCache | None) -> Cost:
    from worker.pipeline.render import run
    from worker.pipeline.run_context import RunContext, SilentMonitor, Sources

    facts = JobInput(video=bench.video, audio=probe_audio(voice, Limits.of(bench.settings)))
    context = RunContext(
        Sources(bench.clip, voice, None, facts),
        JobOptions(sync_mode="silence"),
        bench.synthesizer,
        bench.folder,
        SilentMonitor(),
        bench.detectors,
        bench.settings.ffmpeg,
        cache,
    )
    started, before_s = time.perf_counter(), tree_cpu_s(os.getpid())
    run(context, bench.folder / "out.mp4")
    return Cost(time.perf_counter() - started, tree_cpu_s(os.getpid()) - before_s)
