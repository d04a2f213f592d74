"""Scenario: Redis is unavailable for half a minute; the API answers 503, and afterwards all jobs succeed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import httpx

from lipsync.bench.standard_clips import StandardClip, make_clip
from tests.chaos.client import has_ended, post, submit, wait_for
from tests.chaos.cluster import Cluster
from tests.chaos.findings import Findings

OUTAGE_S: Final = 30.0
CLIP: Final = StandardClip("outage", 256, 256, 25, 20)
JOBS: Final = 4


def run_outage(folder: Path, findings: Findings, seed: int) -> None:
    """Stop Redis while one job runs and others wait; report the answers of the API and what became of the jobs."""
    clip = make_clip(CLIP, folder, None)
    cluster = Cluster(folder, seed, {"segment_s": 8.0})
    cluster.add_worker()
    with cluster.running() as http:
        ids = [submit(http, clip, f"outage-{number}") for number in range(JOBS)]
        wait_for(http, ids[0], 60, lambda job: job["progress"]["frames_done"] > 0)
        cluster.redis.end(timeout_s=0.0)
        started, answers = time.monotonic(), []
        while time.monotonic() - started < OUTAGE_S:
            answers += [http.get(f"/jobs/{ids[0]}"), post(http, clip, "during"), http.get("/readyz")]
            alive = http.get("/healthz").status_code == 200
            time.sleep(1.0)
        refused = [answer for answer in answers if _is_refusal(answer)]
        findings.promise("the API lives without Redis and answers 503 with a code", alive and refused == answers)
        cluster.redis.is_wanted = True
        back_at = time.monotonic()
        jobs = [wait_for(http, job_id, 300, has_ended) for job_id in ids]
        late = wait_for(http, submit(http, clip, "during"), 120, has_ended)
        recovered_s = time.monotonic() - back_at
        totals = cluster.connect().hgetall("lipsync:totals")
    succeeded = sum(job["status"] == "succeeded" for job in [*jobs, late])
    lost = int(totals.get("lost", 0))
    findings.figures(
        "outage",
        f"Redis unavailable for {OUTAGE_S:g} s: {len(refused)} of {len(answers)} calls answered 503, "
        f"{succeeded} of {JOBS + 1} jobs had succeeded {recovered_s:.0f} s after its return, "
        f"{lost} attempts were lost",
    )
    findings.promise("no accepted job and no attempt is lost", succeeded == JOBS + 1 and lost == 0)


def _is_refusal(answer: httpx.Response) -> bool:
    if answer.status_code != 503 or answer.headers["content-type"] != "application/problem+json":
        return False
    return bool(answer.json()["code"]) and "Traceback" not in answer.text
