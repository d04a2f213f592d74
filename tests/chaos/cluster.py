"""A whole service on this machine: Redis with its append-only file, the API and workers.

Each process may be killed at any time and is then started again. Logs and data lie in one folder.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx
import psutil
import redis

from app.core.parent_death import tied_to_this_process
from app.core.private_redis import redis_command
from app.core.records.connection import connect
from lipsync.supervisor import free_port
from tests.processes import children_of, name_of

PAUSE_S: Final = (0.2, 1.5)  # least and longest time until a dead process is started again
START_S: Final = 90.0
LIGHT_WORKER: Final = (sys.executable, "-m", "tests.chaos.light_worker")
WORKER: Final = (sys.executable, "-m", "lipsync", "worker")


class Member:
    """Process that is started again after it dies, with a pause, until it is ended."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path, pauses: random.Random):
        self.name = name
        self._command, self._environment, self._log, self._pauses = command, environment, log, pauses
        self._process: subprocess.Popen[bytes] | None = None
        self._due_at = 0.0
        self.is_wanted = True

    @property
    def pid(self) -> int | None:
        """Return the process id, or None if the process is not running."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start_if_due(self) -> None:
        """Start the process if it is not running and its pause is over."""
        if self.pid is not None or not self.is_wanted:
            return
        if self._process is not None:
            self._process = None
            self._due_at = time.monotonic() + self._pauses.uniform(*PAUSE_S)
        if time.monotonic() >= self._due_at:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    tied_to_this_process(self._command),
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 20.0) -> float:
        """End the process for good with a signal, after the timeout with SIGKILL; return the seconds that took."""
        self.is_wanted = False
        started = time.monotonic()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
            self._process.kill()
            self._process.wait()
        return time.monotonic() - started

    def log_text(self) -> str:
        """Return the log of the process."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""


class Cluster:
    """Redis, API and workers of one service."""

    def __init__(self, folder: Path, seed: int, settings: dict[str, object], bind: str | None = None) -> None:
        """Prepare the processes; `bind` is an address of this machine on which Redis listens for other hosts."""
        self.folder, self._pauses = folder, random.Random(seed)
        self.storage = folder / "storage"
        for made in (self.storage, folder / "redis"):
            made.mkdir()
        socket = folder / "redis.sock"
        command = redis_command(folder / "redis", socket)
        self.redis_url = f"unix://{socket}"
        self.remote_url = self.redis_url
        if bind is not None:
            port = free_port(bind)
            command += ["--port", str(port), "--bind", bind, "--protected-mode", "no"]
            self.remote_url = f"redis://{bind}:{port}/0"
        self._environment = os.environ | {
            "LIPSYNC_STORAGE": str(self.storage),
            "OMP_NUM_THREADS": "1",
            **{f"LIPSYNC_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.port = free_port("127.0.0.1")
        self.redis = self._member("redis", command, {})
        self.api = self._member(
            "api",
            [sys.executable, "-m", "lipsync", "api"],
            {"LIPSYNC_REDIS_URL": self.redis_url, "LIPSYNC_PORT": str(self.port)},
        )
        self.workers: list[Member] = []
        self._stop = threading.Event()
        self._starter = threading.Thread(target=self._start_again, name="starter", daemon=True)

    def _member(self, name: str, command: list[str], environment: dict[str, str]) -> Member:
        data = self.folder / f"{name}-data"
        own = self._environment | {"LIPSYNC_DATA_DIR": str(data)} | environment
        return Member(name, command, own, self.folder / f"{name}.log", self._pauses)

    def add_worker(
        self, prefix: Sequence[str] = (), url: str | None = None, program: Sequence[str] = LIGHT_WORKER
    ) -> Member:
        """Start one more worker; `prefix` goes before its command, for example `taskset -c 0`."""
        command = [*prefix, *program]
        worker = self._member(f"worker{len(self.workers)}", command, {"LIPSYNC_REDIS_URL": url or self.redis_url})
        self.workers.append(worker)
        return worker

    def _start_again(self) -> None:
        while not self._stop.wait(0.05):
            for member in (self.redis, self.api, *list(self.workers)):
                member.start_if_due()

    @contextmanager
    def running(self) -> Iterator[httpx.Client]:
        """Run all processes until the end of the context, and yield a client of the API."""
        self._starter.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20) as http:
                self.wait_ready(http)
                yield http
        finally:
            self._stop.set()
            self._starter.join()
            for member in (*self.workers, self.api, self.redis):
                member.end()

    def wait_ready(self, http: httpx.Client) -> None:
        """Wait until the service and every worker are ready; raises TimeoutError."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError, redis.RedisError):
                if http.get("/readyz").status_code == 200 and len(self.pool_children()) >= len(self.workers):
                    return
            time.sleep(0.2)
        raise TimeoutError(f"the service did not start; its logs are in {self.folder}")

    def connect(self) -> redis.Redis:
        """Return a client of the service's Redis."""
        return connect(self.redis_url)

    def pool_children(self) -> list[psutil.Process]:
        """Return the pool processes of the workers, which load the network and do the jobs."""
        return [child for worker in self.workers for child in children_of(worker.pid)]

    def encoders(self) -> list[psutil.Process]:
        """Return the ffmpeg processes of all workers."""
        found = [child for worker in self.workers for child in children_of(worker.pid, recursive=True)]
        return [child for child in found if name_of(child).startswith("ffmpeg")]
