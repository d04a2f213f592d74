"""Scenario: an hour of video takes the memory of a minute, and a killed worker costs at most one segment."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final, cast

import psutil

from lipsync.bench.process_costs import tree_rss_bytes
from lipsync.bench.standard_clips import StandardClip, make_clip
from tests.chaos.background import Background
from tests.chaos.client import Job, download, has_ended, is_as_long_as_sent, submit, wait_for
from tests.chaos.cluster import Cluster
from tests.chaos.findings import Findings
from tests.chaos.results import faults_of

SIDE_PX, FPS = 256, 25
MEMORY_RATIO: Final = 1.10  # peak of the hour / peak of the minute
KILL_AT_PERCENT: Final = (35.0, 60.0)


class PeakMemory(Background):
    """Largest memory of the process tree of any worker, in bytes."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__("memory")
        self._cluster = cluster
        self.bytes = 0

    def run(self) -> None:
        """Sample the memory ten times a second."""
        while not self.stop.wait(0.1):
            for worker in self._cluster.workers:
                if worker.pid is not None:
                    self.bytes = max(self.bytes, tree_rss_bytes(worker.pid))


def run_long(folder: Path, findings: Findings, seed: int, minutes: int) -> None:
    """Do one minute of video, then `minutes` on new workers, of which two are killed on the way."""
    short, hour = (
        StandardClip("minute", SIDE_PX, SIDE_PX, FPS, 60),
        StandardClip("hour", SIDE_PX, SIDE_PX, FPS, 60 * minutes),
    )
    peaks = {}
    for standard, kills in ((short, ()), (hour, KILL_AT_PERCENT)):
        own = folder / standard.name
        own.mkdir()
        clip = make_clip(standard, own, None)
        cluster = Cluster(own, seed, {"max_duration_s": 60 * minutes + 60})
        for _ in range(2):
            cluster.add_worker()
        with cluster.running() as http, PeakMemory(cluster) as memory:
            started = time.monotonic()
            job_id = submit(http, clip, standard.name)
            for percent in kills:
                wait_for(http, job_id, 3600, partial(_has_reached, percent))
                _kill_one(cluster)
            job = wait_for(http, job_id, 3600, has_ended)
            seconds = time.monotonic() - started
            peaks[standard.name] = memory.bytes
            if standard is hour:
                path = download(http, job, own / "result.mp4") if job["result"] else None
                _add_findings(findings, cluster, job, path, seconds)
    growth = peaks["hour"] / peaks["minute"]
    findings.figures(
        "long",
        f"worker peak {peaks['minute'] / 1e6:.0f} MB on one minute, {peaks['hour'] / 1e6:.0f} MB on "
        f"{minutes} ({growth:.2f} times)",
    )
    findings.promise("memory does not grow with the length", growth <= MEMORY_RATIO)


def _has_reached(percent: float, job: Job) -> bool:
    return has_ended(job) or bool(job["progress"]["percent"] >= percent)


def _kill_one(cluster: Cluster) -> None:
    with suppress(IndexError, psutil.NoSuchProcess, ProcessLookupError):
        os.kill(cluster.pool_children()[0].pid, signal.SIGKILL)


def _add_findings(findings: Findings, cluster: Cluster, job: Job, path: Path | None, seconds: float) -> None:
    fields = cast("dict[str, str]", cluster.connect().hgetall(f"lipsync:segments:{job['id']}"))
    attempts = [int(value) for name, value in fields.items() if name.endswith(":attempt")]
    again = sum(attempts) - len(attempts)
    frames = 0 if path is None else int(job["result"]["frames"])
    faults = ["is not there"] if path is None else faults_of(path, frames, Fraction(FPS))
    if path is not None and not is_as_long_as_sent(job):
        faults.append("is not as long as what was sent")
    for fault in faults:
        findings.note(f"the result {fault}")
    findings.figures(
        "long",
        f"{frames} frames in {len(attempts)} segments in {seconds:.0f} s, {len(KILL_AT_PERCENT)} "
        f"workers killed on the way, {again} segments done again",
    )
    findings.promise("the result is whole", not faults)
    findings.promise("at most one segment is done again for each worker killed", again <= len(KILL_AT_PERCENT))
