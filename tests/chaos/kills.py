"""Many jobs while everything is killed at random; each must end once, well, and with the bytes of others like it."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
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
from tests.chaos.holds import Death, DeathWatch, held_by
from tests.chaos.report import Report
from tests.chaos.results import faults_of

CLIPS: Final = (  # the last is done in segments
    StandardClip("blink", 256, 256, 25, 1.2),
    StandardClip("short", 256, 256, 25, 2.0),
    StandardClip("long", 256, 256, 25, 5.0),
)
SHARES: Final = (3, 4, 3)
TOLD: Final = "told to end"  # a worker that gets SIGTERM; all others get SIGKILL
VICTIMS: Final = {"worker": 3, "pool child": 4, "ffmpeg": 4, "api": 2, "redis": 2, TOLD: 2}
SETTINGS: Final[dict[str, object]] = {"segment_s": 2.0, "max_attempts": 20, "max_active_per_key": 1000}
STUCK_S: Final = 120.0  # without any job ending, long after the last kill
REQUEUE_LIMIT_S: Final = 20.0
STOP_LIMIT_S: Final = 20.0


@dataclass
class Tally:
    """What was killed, what was sent, what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    accepted: dict[str, StandardClip] = field(default_factory=dict)
    stops_s: list[float] = field(default_factory=list)


class Killer(Background):
    """End one process after another, at random but by a seed."""

    def __init__(self, cluster: Cluster, watch: DeathWatch, tally: Tally, seed: int, mean_s: float) -> None:
        super().__init__("killer")
        self._cluster, self._watch, self._tally = cluster, watch, tally
        self._random, self._mean_s = random.Random(seed), mean_s
        self._redis = cluster.connect()

    def run(self) -> None:
        """Kill, wait a random while, and kill again."""
        while not self.stop.wait(self._random.expovariate(1 / self._mean_s)):
            victim = self._random.choices(list(VICTIMS), list(VICTIMS.values()))[0]
            with suppress(psutil.NoSuchProcess, redis.RedisError):
                self._kill(victim)

    def _kill(self, victim: str) -> None:
        """Kill a victim of a kind, if there is one; what it held is followed where Redis can tell."""
        cluster = self._cluster
        choices: dict[str, Callable[[], list[psutil.Process]]] = {
            "worker": lambda: _alive(cluster.workers),
            TOLD: lambda: _alive(cluster.workers),
            "pool child": cluster.pool_children,
            "ffmpeg": cluster.encoders,
            "api": lambda: _alive([cluster.api]),
            "redis": lambda: _alive([cluster.redis]),
        }
        found = choices[victim]()
        if not found:
            return
        chosen = self._random.choice(found)
        self._tally.kills[victim] += 1
        if victim == TOLD:
            threading.Thread(target=self._tell_to_end, args=(chosen,), daemon=True).start()
            return
        holders = {"worker": chosen.children, "pool child": lambda: [chosen], "ffmpeg": chosen.parents}
        held = held_by(self._redis, [one.pid for one in holders[victim]()]) if victim in holders else []
        chosen.kill()
        self._watch.add(victim, held, time.monotonic())

    def _tell_to_end(self, worker: psutil.Process) -> None:
        started = time.monotonic()
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            worker.terminate()
            worker.wait(STUCK_S)
        self._tally.stops_s.append(time.monotonic() - started)


def _alive(members: Iterable[Member]) -> list[psutil.Process]:
    pids = [member.pid for member in members]
    return [psutil.Process(pid) for pid in pids if pid is not None]


def run_kills(folder: Path, report: Report, jobs: int, seed: int, mean_s: float) -> None:
    """Do so many jobs under kills, one on average each `mean_s`, and report what became of them."""
    clips = [make_clip(standard, folder, None) for standard in CLIPS]
    order = random.Random(seed).choices(range(len(CLIPS)), SHARES, k=jobs)
    cluster = Cluster(folder, seed, SETTINGS)
    for _ in range(2):
        cluster.add_worker()
    tally = Tally()
    with cluster.running() as http, DeathWatch(cluster.connect()) as watch:
        started = time.monotonic()
        with Killer(cluster, watch, tally, seed, mean_s):
            for number, kind in enumerate(tqdm(order, desc="sending")):
                job_id = submit(http, clips[kind], f"{seed}-{number}")
                tally.accepted[job_id] = CLIPS[kind]
            states = _await_all(http, jobs)
        seconds = time.monotonic() - started
        cluster.wait_ready(http)
        _report(report, cluster, http, tally, states, watch.deaths, seconds)


def _await_all(http: httpx.Client, jobs: int) -> dict[str, dict[str, Any]]:
    """Wait until all have ended, or none has for a long time; return them."""
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


def _report(
    report: Report,
    cluster: Cluster,
    http: httpx.Client,
    tally: Tally,
    states: dict[str, dict[str, Any]],
    deaths: list[Death],
    seconds: float,
) -> None:
    rows = [["victim", "kills", "attempts lost", "requeue median s", "p99 s", "max s"]]
    for victim in VICTIMS:
        took = [death.seconds for death in deaths if death.victim == victim]
        figures = [f"{np.percentile(took, share):.1f}" for share in (50, 99, 100)] if took else ["-"] * 3
        rows.append([victim, str(tally.kills[victim]), str(len(took)), *figures])
    report.table(rows)
    totals = {name: int(number) for name, number in cluster.connect().hgetall("lipsync:totals").items()}
    succeeded = [job for job in states.values() if job["status"] == "succeeded"]
    stuck = sum(job["finished_at"] is None for job in states.values())
    lost = len(tally.accepted.keys() - states.keys()) + len(states) - len(succeeded) - stuck
    results = sum(len(list((cluster.storage / "jobs" / job["id"]).glob("result-*"))) for job in succeeded)
    extra_jobs, extra_ends = len(states) - len(tally.accepted), totals["succeeded"] - len(succeeded)
    duplicated = extra_jobs + extra_ends + results - len(succeeded)
    for job in states.values():
        if job["error"] is not None:
            report.note(f"job {job['id']}: {job['error']['code']}")
    invalid = _count_invalid(report, cluster.folder, http, tally, succeeded)
    p99_s = float(np.percentile([death.seconds for death in deaths], 99)) if deaths else 0.0
    again = sum(job["attempt"] > 1 for job in succeeded)
    slowest_s = max(tally.stops_s, default=0.0)
    report.figures(
        "kills",
        f"{len(tally.accepted)} jobs in {seconds:.0f} s under {sum(tally.kills.values())} kills, "
        f"{again} needed another attempt: lost {lost}, duplicated {duplicated}, stuck {stuck}, invalid {invalid}, "
        f"death to requeue p99 {p99_s:.1f} s, slowest orderly stop {slowest_s:.1f} s",
    )
    report.promise("nothing is lost, duplicated, stuck or damaged", not (lost or duplicated or stuck or invalid))
    report.promise(f"what a dead process held is given back within {REQUEUE_LIMIT_S:g} s", p99_s < REQUEUE_LIMIT_S)
    report.promise(f"a worker told to end does so within {STOP_LIMIT_S:g} s", slowest_s < STOP_LIMIT_S)


def _count_invalid(
    report: Report, folder: Path, http: httpx.Client, tally: Tally, succeeded: list[dict[str, Any]]
) -> int:
    """Count results that are not what the record says, not whole, or not the same bytes as others of their clip."""
    invalid, seen = 0, {}
    for job in tqdm(succeeded, desc="checking results"):
        clip, result = tally.accepted[job["id"]], job["result"]
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
            report.note(f"job {job['id']} ({clip.name}): {fault}")
    return invalid
