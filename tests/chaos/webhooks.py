"""Scenario: jobs ask for webhooks while everything is killed and the receiver often fails; each end is announced."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import httpx
import redis
from tqdm import tqdm

from app.core.outgoing.signatures import new_secret
from app.core.records.keys import Key
from lipsync.bench.standard_clips import StandardClip, make_clip
from tests.chaos.client import RETRY_S, Job, has_ended, submit, wait_for
from tests.chaos.cluster import Cluster
from tests.chaos.findings import Findings
from tests.chaos.kills import STUCK_S, Counts, Killer, await_all
from tests.chaos.leases import RequeueWatch
from tests.chaos.receiver import Message, Receiver

CLIP: Final = StandardClip("told", 256, 256, 25, 1.2)
VICTIMS: Final = {"worker": 2, "pool child": 2, "ffmpeg": 2, "api": 5, "redis": 3}
RETRIED_SHARE: Final = 0.4  # of the jobs: canceled and retried, so they end twice and the order can be seen
SETTLE_S: Final = 240.0  # two failures of a message and a lost lease of its sender, one after the other


def run_webhooks(folder: Path, findings: Findings, jobs: int, seed: int, mean_s: float) -> None:
    """Do `jobs` jobs with webhooks while a process is killed every `mean_s` seconds on average; compare what the
    receiver got with the ends in the records.
    """
    clip, chance, secret = make_clip(CLIP, folder, None), random.Random(seed), new_secret()
    counts = Counts()
    with Receiver(secret, seed) as receiver:
        settings: dict[str, object] = {
            "max_attempts": 20,
            "max_active_per_key": 1000,
            "webhook_secret": secret,
            "webhook_hosts": "127.0.0.1",
            "outgoing_ports": receiver.port,
        }
        cluster = Cluster(folder, seed, settings)
        for _ in range(2):
            cluster.add_worker()
        with cluster.running() as http, RequeueWatch(cluster.connect()) as watch:
            started = time.monotonic()
            with Killer(cluster, watch, counts, seed, mean_s, VICTIMS):
                ends: dict[str, str] = {}
                for number in tqdm(range(jobs), desc="sending"):
                    job_id = submit(http, clip, f"{seed}-{number}", webhook_url=receiver.url)
                    if chance.random() < RETRIED_SHARE:
                        ends |= _cancel_and_retry(http, cluster, job_id)
                states = await_all(http, jobs)
                ends |= {event_id: status for job_id in states for event_id, status in _ends(cluster, job_id).items()}
                _await_messages(cluster)
            seconds = time.monotonic() - started
            cluster.wait_ready(http)
            _await_messages(cluster)
        findings.promise("every job ends", all(map(has_ended, states.values())) and len(states) == jobs)
        _add_findings(findings, receiver, ends, counts, seconds)


def _cancel_and_retry(http: httpx.Client, cluster: Cluster, job_id: str) -> dict[str, str]:
    """Cancel a job and retry it unless it succeeded before; return its first end: a retry begins its events anew."""
    _ask_until(http, job_id, "cancel", has_ended)
    ends = _ends(cluster, job_id)
    _ask_until(http, job_id, "retry", lambda job: job["status"] != "canceled")
    return ends


def _ask_until(http: httpx.Client, job_id: str, action: str, is_done: Callable[[Job], bool]) -> None:
    deadline = time.monotonic() + STUCK_S
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError, TimeoutError):
            http.post(f"/jobs/{job_id}/{action}")
            wait_for(http, job_id, 1.0, is_done)
            return
    raise TimeoutError(f"job {job_id} cannot be asked to {action}")


def _ends(cluster: Cluster, job_id: str) -> dict[str, str]:
    """Return the ends of a job in the records: the id of the message of each, and the status."""
    client = cluster.connect()
    for _ in range(100):
        with suppress(redis.RedisError):
            entries = cast("list[tuple[str, dict[str, str]]]", client.xrange(Key.EVENTS + job_id))
            return {f"{job_id}-{event_id}": event["status"] for event_id, event in entries if event["event"] == "end"}
        time.sleep(RETRY_S)
    raise TimeoutError("Redis does not come back")


def _await_messages(cluster: Cluster) -> None:
    """Wait until no webhook waits to be sent, or the longest time for that has passed."""
    client, deadline = cluster.connect(), time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        with suppress(redis.RedisError):
            if client.zcard(Key.WEBHOOKS) == 0:
                return
        time.sleep(1.0)


def _add_findings(findings: Findings, receiver: Receiver, ends: dict[str, str], counts: Counts, seconds: float) -> None:
    messages = receiver.messages
    findings.table([["victim", "kills"], *[[victim, str(counts.kills[victim])] for victim in VICTIMS]])
    findings.table([["answer", "times"], *[[answer, str(times)] for answer, times in receiver.answers.items()]])
    taken = {message.id for message in messages if message.is_taken}
    missing = ends.keys() - taken
    foreign = {message.id for message in messages} - ends.keys()
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for message in messages:
        bodies[message.id].add(message.body)
    changed = sum(len(found) > 1 for found in bodies.values())
    untrue = sum(f'"type":"job.{ends.get(one.id, "")}"'.encode() not in one.body for one in messages)
    disordered = _count_disordered(messages)
    again = sum(message.is_taken for message in messages) - len(taken)
    repeats = sum(len(numbers) > 1 for numbers in _ends_by_job(ends).values())
    findings.figures(
        "webhooks",
        f"{len(ends)} ends ({repeats} jobs ended more than once) in {seconds:.0f} s under "
        f"{sum(counts.kills.values())} kills: {len(messages)} messages, {again} taken again; never told "
        f"{len(missing)}, of no end {len(foreign)}, out of order {disordered}, with another body {changed}, unsigned "
        f"{receiver.unsigned}, before Retry-After {receiver.too_early}",
    )
    findings.promise("each end is announced at least once", not missing)
    findings.promise("with one id and one body", not (foreign or changed or untrue or receiver.unsigned))
    findings.promise("in the order of the ends", not disordered)
    findings.promise("not before the receiver wants it", not receiver.too_early)


def _ends_by_job(ends: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for event_id in ends:
        found[event_id.partition("-")[0]].append(event_id)
    return found


def _count_disordered(messages: Sequence[Message]) -> int:
    """Count messages that came after a later one of the same job, or before an earlier one was taken."""
    newest: dict[str, tuple[int, int]] = {}
    open_events: dict[str, set[tuple[int, int]]] = defaultdict(set)
    count = 0
    for message in messages:
        earlier = {event for event in open_events[message.subject] if event < message.event}
        count += message.event < newest.get(message.subject, (0, 0)) or bool(earlier)
        newest[message.subject] = max(message.event, newest.get(message.subject, (0, 0)))
        if message.is_taken:
            open_events[message.subject].discard(message.event)
        else:
            open_events[message.subject].add(message.event)
    return count
