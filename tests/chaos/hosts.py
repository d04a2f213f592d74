"""Two hosts with one Redis and one storage; one loses its line in mid-job. Two network namespaces stand in for them.

Needs root, as only root may make network namespaces.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lipsync.bench.standard_clips import StandardClip, make_clip
from tests.chaos.client import has_ended, submit, wait_for
from tests.chaos.cluster import Cluster, Member
from tests.chaos.report import Report

NETWORK: Final = "10.213.77"
CLIP: Final = StandardClip("clip", 256, 256, 25, 24)
HEALED_WITHIN_S: Final = 60.0


def run_hosts(folder: Path, report: Report, seed: int) -> None:
    """Cut off the host that has the job, let the other end it, and see that what the first brings late is refused."""
    if os.geteuid() != 0:
        report.note("hosts: left out, only root may make network namespaces")
        return
    clip = make_clip(CLIP, folder, None)
    with namespaces(2) as names:
        cluster = Cluster(folder, seed, {"segment_s": 60.0}, bind=f"{NETWORK}.1")
        cut = _on_host(cluster, names[0])
        with cluster.running() as http:
            job_id = submit(http, clip, "hosts")
            wait_for(http, job_id, 60, lambda job: job["progress"]["percent"] > 10)
            _set_line(names[0], "down")
            cut_at = time.monotonic()
            _on_host(cluster, names[1])
            job = wait_for(http, job_id, 180, has_ended)
            ended_s = time.monotonic() - cut_at
            _set_line(names[0], "up")
            refused = _says(cut, f"ended job={job_id} attempt=1 outcome=lost", HEALED_WITHIN_S)
            after = wait_for(http, job_id, 10, has_ended)
            results = sorted(path.name for path in (cluster.storage / "jobs" / job_id).glob("result-*"))
    report.figures(
        "hosts",
        f"cut off in mid-job, the job {job['status']} on the other host {ended_s:.0f} s later in "
        f"attempt {job['attempt']}; late result {'refused' if refused else 'NOT refused'}",
    )
    report.promise("a job ends elsewhere when its host is cut off", (job["status"], job["attempt"]) == ("succeeded", 2))
    is_unchanged = after == job and results == ["result-2.mp4"]
    report.promise("what the lost host brings late is refused", refused and is_unchanged)


def _on_host(cluster: Cluster, namespace: str) -> Member:
    return cluster.add_worker(["ip", "netns", "exec", namespace], cluster.remote_url)


def _says(member: Member, words: str, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if words in member.log_text():
            return True
        time.sleep(0.5)
    return False


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, timeout=10)


def _set_line(namespace: str, state: str) -> None:
    _ip(f"link set {namespace} {state}")


@contextmanager
def namespaces(count: int) -> Iterator[list[str]]:
    """Make network namespaces whose lines, named like them, meet at a bridge with address .1; all go at the end."""
    tag = f"ls{os.getpid() % 10_000}"
    names = [f"{tag}h{number}" for number in range(count)]
    try:
        _ip(f"link add {tag} type bridge")
        _ip(f"addr add {NETWORK}.1/24 dev {tag}")
        _ip(f"link set {tag} up")
        for number, name in enumerate(names):
            _ip(f"netns add {name}")
            _ip(f"link add {name} type veth peer name eth0 netns {name}")
            _ip(f"link set {name} master {tag} up")
            _ip(f"-n {name} addr add {NETWORK}.{number + 2}/24 dev eth0")
            _ip(f"-n {name} link set eth0 up")
            _ip(f"-n {name} link set lo up")
        yield names
    finally:
        gone = [*(["link", "del", name] for name in names), *(["netns", "del", name] for name in names)]
        for words in [*gone, ["link", "del", tag]]:
            subprocess.run(["ip", *words], check=False, capture_output=True, timeout=10)
