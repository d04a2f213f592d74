"""Speed and memory of the whole path, compared with a plain transcode in the same run.

Seconds depend on the machine and on its load. The figure to compare is the ratio to decoding and encoding alone: jobs
and transcodes take turns, and each ratio is that of two neighbours. The ratio of processor seconds is less disturbed by
other programs than that of wall seconds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
from tqdm import tqdm

from app.core.errors import LipSyncError
from app.core.settings import Settings
from lipsync.bench.generator_speed import measure_generator
from lipsync.bench.machine_facts import machine_facts
from lipsync.bench.second_voice import measure_second_voice
from lipsync.bench.service_speed import measure_service
from lipsync.bench.standard_clips import STANDARD_CLIPS, StandardClip, make_clip, transcode
from lipsync.bench.warm_job import measure_job, measure_peak_bytes

_Figures = TypeVar("_Figures")

SECOND_VOICE_CLIPS: Final = ("portrait_8s", "phone_20s")
FLAT_MEMORY_RATIO: Final = 1.10  # peak of ten minutes / peak of one minute
MEMORY_LIMIT_BYTES: Final = 1_500_000_000


class Account:
    """What was measured and what failed, so that one failure does not cost the other figures."""

    def __init__(self) -> None:
        self.failed: list[dict[str, str]] = []

    def measured(self, name: str, measure: Callable[[], _Figures]) -> _Figures | None:
        """Return the figures, or None after a failure that is now on the account."""
        try:
            return measure()
        except (LipSyncError, OSError, RuntimeError, subprocess.SubprocessError, httpx.HTTPError) as error:
            text = str(error) if isinstance(error, LipSyncError) else f"internal: {error}"
            self.failed.append({"name": name, "error": " ".join(text.split())})
            return None


@dataclass(frozen=True)
class BenchPlan:
    """What to measure.

    clips: films to measure instead of the standard ones. runs: figures of time are medians over so many. only: names of
    clips, `second_voice`, `generator` or `service`; everything if empty. profile: file for a flame graph of one more
    job with the first clip.
    """

    clips: tuple[Path, ...] = ()
    runs: int = 1
    only: tuple[str, ...] = ()
    profile: Path | None = None

    def wants(self, name: str) -> bool:
        """Return whether a part is to be measured."""
        return not self.only or name in self.only


def measure_all(plan: BenchPlan) -> dict[str, Any]:
    """Measure the clips, then the generator alone and the service alone.

    Returns the structure that `lipsync bench --json` writes. What failed is missing or null, and `failed` names it with
    its error.
    """
    settings = Settings()
    account, rows = Account(), []
    facts = machine_facts(settings.ffmpeg)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = _sources(plan, folder, settings)
        for label, find in tqdm(sources, desc="clips", disable=not sources):
            row = account.measured(label, partial(_measure_clip, label, find, folder, plan.runs, settings))
            rows += [] if row is None else [row]
        if plan.profile is not None and sources:
            account.measured("profile", lambda: measure_job(sources[0][1](), plan.profile))
        second_voice = _second_voices(plan, account, folder, settings)
        generator = _wanted(plan, account, "generator", partial(measure_generator, settings))
        upload = partial(make_clip, STANDARD_CLIPS[0], folder, settings.ffmpeg)
        service = _wanted(plan, account, "service", lambda: measure_service(upload()))
    first = rows[0] if rows else {}
    return {
        "machine": {**facts, "device": first.get("device")},
        "checkpoint": first.get("checkpoint"),
        "precision": first.get("precision"),
        "runs": plan.runs,
        "clips": [{key: row[key] for key in row if key not in ("device", "checkpoint", "precision")} for row in rows],
        "second_voice": second_voice,
        "generator": generator,
        "service": service,
        "failed": account.failed,
    }


def _sources(plan: BenchPlan, folder: Path, settings: Settings) -> list[tuple[str, Callable[[], Path]]]:
    """Return the names of the clips to measure, each with a function that returns its path."""
    given: list[tuple[str, Callable[[], Path]]] = [(clip.stem, partial(Path, clip)) for clip in plan.clips]
    standard = [(clip.name, partial(make_clip, clip, folder, settings.ffmpeg)) for clip in STANDARD_CLIPS]
    return [source for source in given or standard if given or plan.wants(source[0])]


def _second_voices(plan: BenchPlan, account: Account, folder: Path, settings: Settings) -> dict[str, Any]:
    """Return the figures of the second voice by standard clip; none if films were given."""
    found: dict[str, Any] = {}
    for clip in STANDARD_CLIPS if plan.wants("second_voice") and not plan.clips else ():
        if clip.name in SECOND_VOICE_CLIPS:

            def measure(clip: StandardClip = clip) -> dict[str, Any]:
                return measure_second_voice(make_clip(clip, folder, settings.ffmpeg), plan.runs, settings)

            found[clip.name] = account.measured(f"second voice of {clip.name}", measure)
    return found


def _wanted(
    plan: BenchPlan, account: Account, name: str, measure: Callable[[], dict[str, Any]]
) -> dict[str, Any] | None:
    return account.measured(name, measure) if plan.wants(name) else None


def _measure_clip(name: str, find: Callable[[], Path], folder: Path, runs: int, settings: Settings) -> dict[str, Any]:
    clip, jobs, transcodes = find(), [], []
    for _ in range(runs):
        jobs.append(measure_job(clip))
        transcodes.append(_timed_transcode(clip, folder / "transcode.mp4", settings))
    pairs = list(zip(jobs, transcodes, strict=True))
    wall_s = statistics.median(job["wall_s"] for job in jobs)
    cpu_s = statistics.median(job["cpu_s"] for job in jobs)
    middle = min(jobs, key=lambda job: abs(job["wall_s"] - wall_s))
    return {
        "name": name,
        **middle,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "threads_busy": cpu_s / wall_s,
        "transcode_s": statistics.median(transcode_s for transcode_s, _ in transcodes),
        "transcode_cpu_s": statistics.median(transcode_cpu_s for _, transcode_cpu_s in transcodes),
        "ratio": statistics.median(job["wall_s"] / transcode_s for job, (transcode_s, _) in pairs),
        "cpu_ratio": statistics.median(job["cpu_s"] / transcode_cpu_s for job, (_, transcode_cpu_s) in pairs),
        "peak_rss_bytes": measure_peak_bytes(clip),
    }


def _timed_transcode(clip: Path, output: Path, settings: Settings) -> tuple[float, float]:
    """Return the wall and the processor seconds of a transcode."""
    started, before = time.perf_counter(), os.times()
    transcode(clip, output, settings.ffmpeg)
    after = os.times()
    return (
        time.perf_counter() - started,
        after.children_user + after.children_system - before.children_user - before.children_system,
    )


def broken_promises(figures: dict[str, Any]) -> list[str]:
    """Return the promises about memory that the figures break. Speed is printed, not judged."""
    peaks = {clip["name"]: clip["peak_rss_bytes"] for clip in figures["clips"]}
    broken = [
        f"{name}: {peak / 1e6:.0f} MB is over {MEMORY_LIMIT_BYTES / 1e6:.0f} MB"
        for name, peak in peaks.items()
        if peak > MEMORY_LIMIT_BYTES
    ]
    if {"one_minute", "ten_minutes"} <= peaks.keys():
        growth = peaks["ten_minutes"] / peaks["one_minute"]
        if growth > FLAT_MEMORY_RATIO:
            broken.append(f"memory grows with length: {growth:.2f} times from one minute to ten")
    return broken
