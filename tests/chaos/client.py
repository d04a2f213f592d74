"""Requests of the scenarios to the service over HTTP; they are repeated while the service does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import httpx

RETRY_S: Final = 0.3
Job = dict[str, Any]


def submit(http: httpx.Client, clip: Path, key: str, timeout_s: float = 120.0, **options: str) -> str:
    """Send a clip with its own sound until it is accepted, always under the same key and with these options; return the
    job's id.

    Raises RuntimeError if the job is refused for good, TimeoutError after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            answer = post(http, clip, key, **options)
        except httpx.HTTPError:
            time.sleep(RETRY_S)
            continue
        if answer.status_code == 202:
            return str(answer.json()["id"])
        if answer.status_code < 500 or answer.headers["content-type"] != "application/problem+json":
            raise RuntimeError(f"a good job was refused: {answer.status_code} {answer.text}")
        time.sleep(RETRY_S)
    raise TimeoutError("no job was accepted in time")


def post(http: httpx.Client, clip: Path, key: str, **options: str) -> httpx.Response:
    """Send a clip once."""
    with clip.open("rb") as video, clip.open("rb") as audio:
        files = {"video": video, "audio": audio}
        return http.post("/jobs", files=files, data=options, headers={"Idempotency-Key": key})


def jobs_of(http: httpx.Client) -> dict[str, Job]:
    """Return all jobs of the service by id; raises httpx.HTTPError."""
    found: dict[str, Job] = {}
    cursor: dict[str, str] = {}
    while True:
        page = http.get("/jobs", params={"limit": "100"} | cursor).raise_for_status().json()
        found |= {job["id"]: job for job in page["jobs"]}
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def wait_for(http: httpx.Client, job_id: str, timeout_s: float, done: Callable[[Job], bool]) -> Job:
    """Wait until `done` holds for the job, whatever the service answers meanwhile; raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            answer = http.get(f"/jobs/{job_id}")
            if answer.status_code == 200 and done(answer.json()):
                return dict(answer.json())
        time.sleep(RETRY_S)
    raise TimeoutError(f"job {job_id} is not as expected after {timeout_s:g} s")


def has_ended(job: Job) -> bool:
    """Return whether the job is in a terminal state."""
    return job["finished_at"] is not None


def is_as_long_as_sent(job: Job) -> bool:
    """Return whether the result is as long as the shorter of picture and voice, within one frame."""
    video, audio = job["input"]["video"], job["input"]["audio"]
    frames = min(float(video["frames"]), float(audio["duration_s"] * Fraction(video["fps"])))
    return bool(abs(job["result"]["frames"] - frames) <= 1)


def download(http: httpx.Client, job: Job, path: Path) -> Path:
    """Fetch a job's result to a file and return it; raises httpx.HTTPError."""
    with http.stream("GET", job["result"]["url"]) as answer, path.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_bytes():
            file.write(chunk)
    return path
