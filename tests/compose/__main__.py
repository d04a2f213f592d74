"""Check of the containers on a real Docker Engine: `python -m tests.compose`, or `make compose-check`.

It builds both images, starts the stack, sends a job through the published port and checks what the containers may do.
It kills a worker in the middle of a job and restarts one in the middle of another, runs two workers, stops and starts
everything, and at the end removes everything. The last line has the figures. A broken promise is the line `error: ...`
and exit status 1.

The environment can choose all that an image is built from: BASE_IMAGE, REDIS_IMAGE, TORCH, TORCH_INDEX_URL and pip's
PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, PIP_TRUSTED_HOST, PIP_CERT. The base image needs Python 3.11 with
venv as `python3`, the redis image a user `redis`. Both `docker compose` and `docker-compose` 1.29 work.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.compose.client import BrokenPromiseError, StackClient, check_video, make_voice
from tests.compose.stack import Stack

FIRST_S: Final = 4.0  # length of the speech in the first job
MID_JOB_WORK_S: Final = 30.0  # how long a job must run, so that its worker can be killed in the middle
JOB_TIMEOUT_S: Final = 900.0  # long, because the machine may be busy


def main() -> int:
    """Run the check and return the exit status."""
    parser = argparse.ArgumentParser(description="check the containers on a Docker Engine")
    parser.add_argument("--file", type=Path, default=Path("docker/compose.cpu.yml"), help="the stack to check")
    chosen = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="lipsync-compose-") as folder, Stack(chosen.file) as stack:
            figures = StackCheck(stack, Path(folder)).run()
            report("removing the stack")
    except BrokenPromiseError as error:
        report(f"error: {error}")
        return 1
    report("compose-check: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
    return 0


def report(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class StackCheck:
    """Steps of the check in their order; each adds a figure."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._client = StackClient(stack.url)
        self._figures: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        """Run every step and return the figures; raises BrokenPromiseError."""
        self._timed("build", self._stack.build)
        for name, size in self._stack.image_bytes().items():
            self._figures[name] = f"{size / 1e6:.0f} MB"
        self._timed("ready", self._start)
        self._client.use_key(self._stack.create_key())
        self._stack.check_isolation()
        self._figures["isolation"] = "ok"
        first = self._timed(f"job of {FIRST_S:g} s", self._first_job)
        killed = self._interrupted("killed worker", _long_s(first), self._stack.kill_and_start_worker)
        long_s = _long_s(killed)  # a worker that is asked to end finishes what is nearly done, and it is warm now
        self._interrupted("restarted worker", long_s, self._stack.restart_worker)
        self._timed("two workers", lambda: self._scale(long_s))
        self._timed("down and up", lambda: self._down_and_up(first))
        return self._figures

    def _timed(self, name: str, step: Callable[[], Any]) -> Any:
        report(f"{name} ...")
        started = time.monotonic()
        outcome = step()
        self._figures[name] = f"{time.monotonic() - started:.1f} s"
        return outcome

    def _start(self) -> None:
        self._stack.up()
        self._client.wait_until_ready()

    def _first_job(self) -> dict[str, Any]:
        job = self._client.submit(make_voice(self._folder / "first.wav", FIRST_S))
        job = self._client.wait(job["id"], JOB_TIMEOUT_S)
        output = self._client.download(job, self._folder / "first.mp4")
        check_video(output, job, FIRST_S)
        return job

    def _interrupted(self, name: str, seconds: float, interrupt: Callable[[], None]) -> dict[str, Any]:
        report(f"{name}, in the middle of a job of {seconds:.0f} s ...")
        job = self._client.submit(make_voice(self._folder / "long.wav", seconds))
        self._client.wait_until_working([job["id"]], 120)
        started = time.monotonic()
        interrupt()
        job = self._client.wait(job["id"], JOB_TIMEOUT_S)
        check_video(self._client.download(job, self._folder / "long.mp4"), job, seconds)
        if job["attempt"] < 2:
            raise BrokenPromiseError(f"the job ended before its worker did: attempt {job['attempt']}")
        self._figures[name] = f"attempt {job['attempt']} done {time.monotonic() - started:.1f} s later"
        return job

    def _scale(self, seconds: float) -> None:
        self._stack.scale_workers(2)
        self._client.wait_until_ready()
        voice = make_voice(self._folder / "pair.wav", seconds)
        pair = [self._client.submit(voice)["id"] for _ in range(2)]
        self._client.wait_until_working(pair, 120)  # both at the same time, so the second worker has claimed one
        for job_id in pair:
            self._client.cancel(job_id, 30)

    def _down_and_up(self, first: dict[str, Any]) -> None:
        self._stack.down()
        self._start()
        self._client.download(self._client.job(first["id"]), self._folder / "again.mp4")


def _long_s(job: dict[str, Any]) -> float:
    """Return the length of a voice, in seconds, for which a job as fast as this one works for MID_JOB_WORK_S."""
    work_per_s = max(float(job["report"]["realtime_factor"]), 0.02)
    return min(max(MID_JOB_WORK_S / work_per_s, FIRST_S), 900.0)


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    sys.exit(main())
