"""Check the containers on a real Docker Engine, from outside, and leave nothing running.

Build both images, bring the stack up, send a job through the published port, look at what the containers may do,
kill a worker in mid-job and restart one in another, scale to two, take everything down and up again, remove it all.
The last line is the figures; a broken promise is the line `error: ...` and exit status 1.

Everything an image is built from can be chosen in the environment: BASE_IMAGE, REDIS_IMAGE, TORCH, TORCH_INDEX_URL and
pip's PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, PIP_TRUSTED_HOST, PIP_CERT. The base image needs Python 3.11
with venv as `python3`, the redis image a user `redis`. `docker compose` and `docker-compose` 1.29 both do.
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

from tests.compose.checked_job import BrokenPromiseError, Service, make_voice, verify_video
from tests.compose.checked_stack import Stack

FIRST_S: Final = 4.0  # of speech in the first job
MID_JOB_WORK_S: Final = 30.0  # how long a job has to run, so that its worker can die in the middle
JOB_TIMEOUT_S: Final = 900.0  # generous: the machine may be busy with other things


def main() -> int:
    """Run the check and return the exit status."""
    parser = argparse.ArgumentParser(description="check the containers on a Docker Engine")
    parser.add_argument("--file", type=Path, default=Path("docker/compose.cpu.yml"), help="the stack to check")
    chosen = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="lipsync-compose-") as folder, Stack(chosen.file) as stack:
            figures = Check(stack, Path(folder)).run()
            say("taking it down")
    except BrokenPromiseError as error:
        say(f"error: {error}")
        return 1
    say("compose-check: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
    return 0


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Check:
    """The steps, in order; each leaves its figure."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._service = Service(stack.url)
        self._figures: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        """Take every step and return the figures; raises BrokenPromiseError."""
        self._timed("build", self._stack.build)
        for name, size in self._stack.image_bytes().items():
            self._figures[name] = f"{size / 1e6:.0f} MB"
        self._timed("ready", self._start)
        self._stack.check_isolation()
        self._figures["isolation"] = "ok"
        first = self._timed(f"job of {FIRST_S:g} s", self._first_job)
        work_per_s = max(float(first["report"]["realtime_factor"]), 0.02)
        long_s = min(max(MID_JOB_WORK_S / work_per_s, FIRST_S), 900.0)
        self._interrupted("killed worker", long_s, self._stack.kill_and_start_worker)
        self._interrupted("restarted worker", long_s, self._stack.restart_worker)
        self._timed("two workers", lambda: self._scale(long_s))
        self._timed("down and up", lambda: self._down_and_up(first))
        return self._figures

    def _timed(self, name: str, step: Callable[[], Any]) -> Any:
        say(f"{name} ...")
        started = time.monotonic()
        outcome = step()
        self._figures[name] = f"{time.monotonic() - started:.1f} s"
        return outcome

    def _start(self) -> None:
        self._stack.up()
        self._service.wait_until_ready()

    def _first_job(self) -> dict[str, Any]:
        job = self._service.submit(make_voice(self._folder / "first.wav", FIRST_S))
        job = self._service.wait(job["id"], JOB_TIMEOUT_S)
        output = self._service.download(job, self._folder / "first.mp4")
        verify_video(output, job, FIRST_S)
        return job

    def _interrupted(self, name: str, seconds: float, interrupt: Callable[[], None]) -> None:
        say(f"{name}, in the middle of a job of {seconds:.0f} s ...")
        job = self._service.submit(make_voice(self._folder / "long.wav", seconds))
        self._service.wait_until_working([job["id"]], 120)
        started = time.monotonic()
        interrupt()
        job = self._service.wait(job["id"], JOB_TIMEOUT_S)
        verify_video(self._service.download(job, self._folder / "long.mp4"), job, seconds)
        if job["attempt"] < 2:
            raise BrokenPromiseError(f"the job ended before its worker did: attempt {job['attempt']}")
        self._figures[name] = f"attempt {job['attempt']} done {time.monotonic() - started:.1f} s later"

    def _scale(self, seconds: float) -> None:
        self._stack.scale_workers(2)
        self._service.wait_until_ready()
        voice = make_voice(self._folder / "pair.wav", seconds)
        pair = [self._service.submit(voice)["id"] for _ in range(2)]
        self._service.wait_until_working(pair, 120)  # both at the same time: a second worker has taken one
        for job_id in pair:
            self._service.cancel(job_id, 30)

    def _down_and_up(self, first: dict[str, Any]) -> None:
        self._stack.down()
        self._start()
        self._service.download(self._service.job(first["id"]), self._folder / "again.mp4")


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    sys.exit(main())
