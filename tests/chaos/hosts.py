"""Scenario: two hosts with one Redis and one storage; one host is disconnected in the middle of a job.

Two network namespaces stand in for the hosts. Only root may make them.
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
from tests.chaos.findings import Findings

NETWORK: Final = "10.213.77"
CLIP: Final = StandardClip("clip", 256, 256, 25, 24)
LATE_RESULT_WITHIN_S: Final = 60.0


def run_hosts(folder: Path, findings: Findings, seed: int) -> None:
    """Disconnect the host of a running job.

    The other host must end the job. The late result of the disconnected host must be refused.
    """
    if os.geteuid() != 0:
        findings.note("hosts: skipped, only root may make network namespaces")
        return
    clip = make_clip(CLIP, folder, None)
    with namespaces(2) as names:
        cluster = Cluster(folder, seed, {"segment_s": 60.0}, bind=f"{NETWORK}.1")
        disconnected = _on_host(cluster, names[0])
        with cluster.running() as http:
            job_id = submit(http, clip, "hosts")
            wait_for(http, job_id, 60, lambda job: job["progress"]["percent"] > 10)
            _set_link(names[0], "down")
            disconnected_at = time.monotonic()
            _on_host(cluster, names[1])
            job = wait_for(http, job_id, 180, has_ended)
            ended_s = time.monotonic() - disconnected_at
            _set_link(names[0], "up")
            refused = _logs(disconnected, f"ended job={job_id} attempt=1 outcome=lost", LATE_RESULT_WITHIN_S)
            after = wait_for(http, job_id, 10, has_ended)
            results = sorted(path.name for path in (cluster.storage / "jobs" / job_id).glob("result-*"))
    findings.figures(
        "hosts",
        f"disconnected in the middle of a job, the job {job['status']} on the other host {ended_s:.0f} s later in "
        f"attempt {job['attempt']}; late result {'refused' if refused else 'NOT refused'}",
    )
    findings.promise(
        "a job ends on another host if its host is disconnected", (job["status"], job["attempt"]) == ("succeeded", 2)
    )
    is_unchanged = after == job and results == ["result-2.mp4"]
    findings.promise("the late result of the lost host is refused", refused and is_unchanged)


def _on_host(cluster: Cluster, namespace: str) -> Member:
    return cluster.add_worker(["ip", "netns", "exec", namespace], cluster.remote_url)


def _logs(member: Member, text: str, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if text in member.log_text():
            return True
        time.sleep(0.5)
    return False


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, timeout=10)


def _set_link(namespace: str, state: str) -> None:
    _ip(f"link set {namespace} {state}")


@contextmanager
def namespaces(count: int) -> Iterator[list[str]]:
    """Make network namespaces, each with a link of its own name to a bridge with address .1; remove all at the end."""
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
        removed = [*(["link", "del", name] for name in names), *(["netns", "del", name] for name in names)]
        for arguments in [*removed, ["link", "del", tag]]:
            subprocess.run(["ip", *arguments], check=False, capture_output=True, timeout=10)
