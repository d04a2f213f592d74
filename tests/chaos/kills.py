"""Scenario: many jobs while processes are killed at random; each must end once, with the same bytes as jobs like it."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import psutil
import redis
from tqdm import tqdm

from lipsync.bench.standard_clips import StandardClip, make_clip
from tests.chaos.background import Background
from tests.chaos.client import jobs_of, submit
from tests.chaos.cluster import Cluster, Member
from tests.chaos.findings import Findings
from tests.chaos.leases import Requeue, RequeueWatch, leases_of
from tests.chaos.results import faults_of

CLIPS: Final = (  # the last one is done in segments
    StandardClip("blink", 256, 256, 25, 1.2),
    StandardClip("short", 256, 256, 25, 2.0),
    StandardClip("long", 256, 256, 25, 5.0),
)
SHARES: Final = (3, 4, 3)
TERMINATED: Final = "asked to end"  # a worker that gets SIGTERM; all others get SIGKILL
VICTIMS: Final = {"worker": 3, "pool child": 4, "ffmpeg": 4, "api": 2, "redis": 2, TERMINATED: 2}
SETTINGS: Final[dict[str, object]] = {"segment_s": 2.0, "max_attempts": 20, "max_active_per_key": 1000}
STUCK_S: Final = 120.0  # jobs are stuck if none ends for so long
REQUEUE_LIMIT_S: Final = 20.0
STOP_LIMIT_S: Final = 20.0


@dataclass
class Counts:
    """Kills, accepted jobs, and the times that workers took to stop, in seconds."""

    kills: Counter[str] = field(default_factory=Counter)
    accepted: dict[str, StandardClip] = field(default_factory=dict)
    stops_s: list[float] = field(default_factory=list)


class Killer(Background):
    """Thread that kills one random process after another; a seed decides which and when."""

    def __init__(
        self,
        cluster: Cluster,
        watch: RequeueWatch,
        counts: Counts,
        seed: int,
        mean_s: float,
        victims: Mapping[str, int] = VICTIMS,
    ) -> None:
        """Prepare the thread; `victims` are the kinds of process with how often each is chosen."""
        super().__init__("killer")
        self._victims = victims
        self._cluster, self._watch, self._counts = cluster, watch, counts
        self._random, self._mean_s = random.Random(seed), mean_s
        self._redis = cluster.connect()

    def run(self) -> None:
        """Kill a process, wait for a random time, and repeat."""
        while not self.stop.wait(self._random.expovariate(1 / self._mean_s)):
            victim = self._random.choices(list(self._victims), list(self._victims.values()))[0]
            with suppress(psutil.NoSuchProcess, redis.RedisError):
                self._kill(victim)

    def _kill(self, victim: str) -> None:
        """Kill a victim of this kind, if there is one, and watch the leases that it held."""
        cluster = self._cluster
        choices: dict[str, Callable[[], list[psutil.Process]]] = {
            "worker": lambda: _alive(cluster.workers),
            TERMINATED: lambda: _alive(cluster.workers),
            "pool child": cluster.pool_children,
            "ffmpeg": cluster.encoders,
            "api": lambda: _alive([cluster.api]),
            "redis": lambda: _alive([cluster.redis]),
        }
        found = choices[victim]()
        if not found:
            return
        chosen = self._random.choice(found)
        self._counts.kills[victim] += 1
        if victim == TERMINATED:
            threading.Thread(target=self._terminate, args=(chosen,), daemon=True).start()
            return
        holders = {"worker": chosen.children, "pool child": lambda: [chosen], "ffmpeg": chosen.parents}
        leases = leases_of(self._redis, [process.pid for process in holders[victim]()]) if victim in holders else []
        chosen.kill()
        self._watch.add(victim, leases, time.monotonic())

    def _terminate(self, worker: psutil.Process) -> None:
        started = time.monotonic()
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            worker.terminate()
            worker.wait(STUCK_S)
        self._counts.stops_s.append(time.monotonic() - started)


def _alive(members: Iterable[Member]) -> list[psutil.Process]:
    pids = [member.pid for member in members]
    return [psutil.Process(pid) for pid in pids if pid is not None]


def run_kills(folder: Path, findings: Findings, jobs: int, seed: int, mean_s: float) -> None:
    """Do `jobs` jobs while a process is killed every `mean_s` seconds on average; report what became of them."""
    clips = [make_clip(standard, folder, None) for standard in CLIPS]
    order = random.Random(seed).choices(range(len(CLIPS)), SHARES, k=jobs)
    cluster = Cluster(folder, seed, SETTINGS)
    for _ in range(2):
        cluster.add_worker()
    counts = Counts()
    with cluster.running() as http, RequeueWatch(cluster.connect()) as watch:
        started = time.monotonic()
        with Killer(cluster, watch, counts, seed, mean_s):
            for number, kind in enumerate(tqdm(order, desc="sending")):
                job_id = submit(http, clips[kind], f"{seed}-{number}")
                counts.accepted[job_id] = CLIPS[kind]
            states = await_all(http, jobs)
        seconds = time.monotonic() - started
        cluster.wait_ready(http)
        _add_findings(findings, cluster, http, counts, states, watch.requeues, seconds)


def await_all(http: httpx.Client, jobs: int) -> dict[str, dict[str, Any]]:
    """Wait until all jobs have ended, or none has ended for STUCK_S; return all jobs."""
    states: dict[str, dict[str, Any]] = {}
    ended, since = 0, time.monotonic()
    with tqdm(total=jobs, desc="ended") as bar:
        while ended < jobs and time.monotonic() - since < STUCK_S:
            time.sleep(1.0)
            with suppress(httpx.HTTPError):
                states = jobs_of(http)
            now_ended = sum(job["finished_at"] is not None for job in states.values())
            if now_ended > ended:
                bar.update(now_ended - ended)
                ended, since = now_ended, time.monotonic()
    return states


def _add_findings(
    findings: Findings,
    cluster: Cluster,
    http: httpx.Client,
    counts: Counts,
    states: dict[str, dict[str, Any]],
    requeues: list[Requeue],
    seconds: float,
) -> None:
    rows = [["victim", "kills", "attempts lost", "requeue median s", "p99 s", "max s"]]
    for victim in VICTIMS:
        took = [requeue.seconds for requeue in requeues if requeue.victim == victim]
        figures = [f"{np.percentile(took, share):.1f}" for share in (50, 99, 100)] if took else ["-"] * 3
        rows.append([victim, str(counts.kills[victim]), str(len(took)), *figures])
    findings.table(rows)
    totals = {name: int(number) for name, number in cluster.connect().hgetall("lipsync:totals").items()}
    succeeded = [job for job in states.values() if job["status"] == "succeeded"]
    stuck = sum(job["finished_at"] is None for job in states.values())
    lost = len(counts.accepted.keys() - states.keys()) + len(states) - len(succeeded) - stuck
    results = sum(len(list((cluster.storage / "jobs" / job["id"]).glob("result-*"))) for job in succeeded)
    extra_jobs, extra_ends = len(states) - len(counts.accepted), totals["succeeded"] - len(succeeded)
    duplicated = extra_jobs + extra_ends + results - len(succeeded)
    for job in states.values():
        if job["error"] is not None:
            findings.note(f"job {job['id']}: {job['error']['code']}")
    invalid = _count_invalid(findings, cluster.folder, http, counts, succeeded)
    p99_s = float(np.percentile([requeue.seconds for requeue in requeues], 99)) if requeues else 0.0
    again = sum(job["attempt"] > 1 for job in succeeded)
    slowest_s = max(counts.stops_s, default=0.0)
    findings.figures(
        "kills",
        f"{len(counts.accepted)} jobs in {seconds:.0f} s under {sum(counts.kills.values())} kills, "
        f"{again} needed another attempt: lost {lost}, duplicated {duplicated}, stuck {stuck}, invalid {invalid}, "
        f"kill to requeue p99 {p99_s:.1f} s, slowest stop of a worker {slowest_s:.1f} s",
    )
    findings.promise("nothing is lost, duplicated, stuck or damaged", not (lost or duplicated or stuck or invalid))
    findings.promise(f"work of a dead process is queued again within {REQUEUE_LIMIT_S:g} s", p99_s < REQUEUE_LIMIT_S)
    findings.promise(f"a worker that is asked to end does so within {STOP_LIMIT_S:g} s", slowest_s < STOP_LIMIT_S)


def _count_invalid(
    findings: Findings, folder: Path, http: httpx.Client, counts: Counts, succeeded: list[dict[str, Any]]
) -> int:
    """Count results that differ from their record, have faults, or differ from other results of the same clip."""
    invalid, seen = 0, {}
    for job in tqdm(succeeded, desc="checking results"):
        clip, result = counts.accepted[job["id"]], job["result"]
        data = http.get(result["url"]).raise_for_status().content
        digest = hashlib.sha256(data).hexdigest()
        faults = [] if (len(data), digest) == (result["bytes"], result["sha256"]) else ["is not the file of the record"]
        if digest not in seen:
            path = folder / f"{digest}.mp4"
            path.write_bytes(data)
            seen[digest] = clip.name
            faults += faults_of(path, round(clip.duration_s * clip.fps), Fraction(clip.fps))
        if Counter(seen.values())[clip.name] > 1:
            faults.append("differs from another result of the same clip")
        invalid += bool(faults)
        for fault in faults:
            findings.note(f"job {job['id']} ({clip.name}): {fault}")
    return invalid
