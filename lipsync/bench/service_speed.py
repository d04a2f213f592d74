"""Cost of the service itself: the time of a submission and the rate of polls, over real HTTP."""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx

from lipsync.running_service import running_service
from lipsync.sample import VOICE, portrait

SUBMISSIONS: Final = 5
POLL_SECONDS: Final = 3.0


def measure_service() -> dict[str, Any]:
    """Start the service, submit a still picture and a voice a few times, and poll one job as fast as one client can.

    Returns {submit_overhead_s, polls_per_s}: the median time of `POST /jobs`, probing included, and polls per second.
    """
    picture = io.BytesIO()
    portrait().save(picture, "PNG")
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder)) as url,
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        took, jobs = [], []
        for _ in range(SUBMISSIONS):
            files = {"video": ("face.png", picture.getvalue()), "audio": ("voice.wav", VOICE.read_bytes())}
            started = time.perf_counter()
            answer = http.post("/jobs", files=files).raise_for_status()
            took.append(time.perf_counter() - started)
            jobs.append(answer.headers["location"])
        for job in jobs:
            http.post(f"{job}/cancel").raise_for_status()
        polls, started = 0, time.perf_counter()
        while time.perf_counter() - started < POLL_SECONDS:
            http.get(jobs[0]).raise_for_status()
            polls += 1
        rate = polls / (time.perf_counter() - started)
    return {"submit_overhead_s": statistics.median(took), "polls_per_s": rate}
