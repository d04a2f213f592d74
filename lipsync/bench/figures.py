"""Speed and memory of the whole path, compared with a plain transcode in the same run.

Seconds depend on the machine and on its load. The figure to compare is the ratio to decoding and encoding alone.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import psutil
from tqdm import tqdm

from app.core.errors import LipSyncError
from app.core.settings import Settings
from lipsync.bench.generator_speed import measure_generator
from lipsync.bench.service_speed import measure_service
from lipsync.bench.standard_clips import STANDARD_CLIPS, make_clip, transcode
from lipsync.bench.warm_job import measure_job

_Figures = TypeVar("_Figures")

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


def measure_all(clips: Sequence[Path], runs: int) -> dict[str, Any]:
    """Measure the given clips (if none: the standard ones), then the generator alone and the service alone.

    Returns the structure that `lipsync bench --json` writes. Times are medians over `runs`. What failed is missing or
    null, and `failed` names it with its error.
    """
    settings = Settings()
    account, rows = Account(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def measure(label: str, find: Callable[[], Path]) -> dict[str, Any]:
            return _measure_clip(label, find(), folder, runs, settings)

        sources: list[tuple[str, Callable[[], Path]]] = [(clip.stem, partial(Path, clip)) for clip in clips]
        if not sources:
            sources = [(clip.name, partial(make_clip, clip, folder, settings.ffmpeg)) for clip in STANDARD_CLIPS]
        for label, find in tqdm(sources, desc="clips"):
            row = account.measured(label, partial(measure, label, find))
            rows += [] if row is None else [row]
    generator = account.measured("generator", partial(measure_generator, settings))
    service = account.measured("service", measure_service)
    first = rows[0] if rows else {}
    return {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "device": first.get("device"),
        },
        "checkpoint": first.get("checkpoint"),
        "precision": first.get("precision"),
        "clips": [{key: row[key] for key in row if key not in ("device", "checkpoint", "precision")} for row in rows],
        "generator": generator,
        "service": service,
        "failed": account.failed,
    }


def _measure_clip(name: str, clip: Path, folder: Path, runs: int, settings: Settings) -> dict[str, Any]:
    jobs, transcodes_s = [], []
    for _ in range(runs):
        jobs.append(measure_job(clip))
        started = time.perf_counter()
        transcode(clip, folder / "transcode.mp4", settings.ffmpeg)
        transcodes_s.append(time.perf_counter() - started)
    wall_s = statistics.median(job["wall_s"] for job in jobs)
    middle = min(jobs, key=lambda job: abs(job["wall_s"] - wall_s))
    ratio = statistics.median(job["wall_s"] / transcode_s for job, transcode_s in zip(jobs, transcodes_s, strict=True))
    return {
        "name": name,
        **middle,
        "wall_s": wall_s,
        "transcode_s": statistics.median(transcodes_s),
        "ratio": ratio,
        "peak_rss_bytes": max(job["peak_rss_bytes"] for job in jobs),
    }


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


def table(figures: dict[str, Any]) -> str:
    """Return the figures as a text table."""
    lines = [f"{'clip':<14}{'frames':>8}{'wall s':>9}{'x realtime':>12}{'transcode s':>13}{'ratio':>8}{'peak MB':>9}"]
    for clip in figures["clips"]:
        lines.append(
            f"{clip['name']:<14}{clip['frames']:>8}{clip['wall_s']:>9.2f}{clip['realtime_factor']:>12.3f}"
            f"{clip['transcode_s']:>13.2f}{clip['ratio']:>8.2f}{clip['peak_rss_bytes'] / 1e6:>9.0f}"
        )
        stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in clip["stage_seconds"].items())
        lines.append(f"    stages (s): {stages}")
    generator, service = figures["generator"], figures["service"]
    if generator is not None:
        lines.append(
            f"generator {generator['crops_per_s']:.0f} crops/s, {generator['gflop_per_crop']:.2f} GFLOP a crop, "
            f"{generator['precision']} on {generator['device']}"
        )
    if service is not None:
        lines.append(f"submit {service['submit_overhead_s'] * 1e3:.0f} ms, {service['polls_per_s']:.0f} polls/s")
    return "\n".join(lines)
