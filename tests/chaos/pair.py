"""Scenario: two workers with one core each do one clip nearly twice as fast as one worker, without a seam."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Final

from lipsync.bench.standard_clips import StandardClip, make_clip
from tests.chaos.client import Job, download, has_ended, is_as_long_as_sent, submit, wait_for
from tests.chaos.cluster import WORKER, Cluster
from tests.chaos.findings import Findings
from tests.chaos.results import faults_of

LEAST_SPEEDUP: Final = 1.8
TIMEOUT_S: Final = 3600


def run_pair(folder: Path, findings: Findings, seed: int, minutes: int) -> None:
    """Do the same clip with one worker and with two, each bound to its own core, with the real network."""
    standard = StandardClip("clip", 256, 256, 25, 60 * minutes)
    clip = make_clip(standard, folder, None)
    took: dict[int, float] = {}
    hashes: set[str] = set()
    for count in (1, 2):
        own = folder / str(count)
        own.mkdir()
        cluster = Cluster(own, seed, {"workers": 1})
        for core in range(count):
            cluster.add_worker(["taskset", "-c", str(core)], program=WORKER)
        with cluster.running() as http:
            job = wait_for(http, submit(http, clip, "pair"), TIMEOUT_S, has_ended)
            if job["result"] is None:
                raise RuntimeError(f"the job failed: {job['error']}")
            path = download(http, job, own / "result.mp4")
        took[count] = _seconds(job)
        hashes.add(job["result"]["sha256"])
        faults = faults_of(path, job["result"]["frames"], Fraction(standard.fps))
        if not is_as_long_as_sent(job):
            faults.append("is not as long as what was sent")
        for fault in faults:
            findings.note(f"the result of {count} {fault}")
        findings.promise(f"the joined file of {count} has no seam", not faults)
    speedup = took[1] / took[2]
    seconds = f"with one worker {took[1]:.0f} s, with two {took[2]:.0f} s"
    findings.figures("pair", f"a clip of {minutes} min {seconds}: {speedup:.2f} times as fast")
    findings.promise("one worker or two give the same file", len(hashes) == 1)
    findings.promise(f"two are at least {LEAST_SPEEDUP:g} times as fast as one", speedup >= LEAST_SPEEDUP)


def _seconds(job: Job) -> float:
    started, finished = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (finished - started).total_seconds()
