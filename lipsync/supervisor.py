"""The whole service in one command: a private Redis, the API and the workers, supervised as child processes.

A child that dies is started again, ever more slowly; one that refuses its settings (exit status 2) ends the whole.
The private Redis listens on a unix socket only and appends every change to a file in the data folder, so a restart
continues where the last run ended. Every child is tied to this process: if it is killed, so are they.
"""

from __future__ import annotations

import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import redis

from app.core.errors import ErrorCode, ServiceError
from app.core.locks import sole_use
from app.core.parent_death import tethered
from app.core.private_redis import redis_command
from app.core.records.connection import connect
from app.core.settings import PREFIX, Settings

REFUSED_STATUS: Final = 2
GRACE_S: Final = 12.0
REDIS_GRACE_S: Final = 5.0
REDIS_START_S: Final = 60.0  # a long append-only file is read first
_POLL_S: Final = 0.2
_MAX_BACKOFF_S: Final = 10.0
_STEADY_S: Final = 30.0

_log = logging.getLogger("lipsync.serve")


class Child:
    """One supervised process with its own process group."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self._command = tethered(command)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._deaths = 0
        self._due_at = 0.0

    def start(self) -> None:
        """Start the process, in a session of its own so that Ctrl-C reaches it only through its supervisor."""
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._started_at = time.monotonic()

    def keep_alive(self) -> int | None:
        """Start it again where it died and its pause is over; return the exit status of a death just noticed."""
        if self._process is None:
            if time.monotonic() >= self._due_at:
                self.start()
            return None
        status = self._process.poll()
        if status is None:
            return None
        self._kill_group()
        self._process = None
        self._deaths = 0 if time.monotonic() - self._started_at > _STEADY_S else self._deaths + 1
        pause_s = min(0.25 * 2**self._deaths, _MAX_BACKOFF_S)
        self._due_at = time.monotonic() + pause_s
        _log.warning("child ended name=%s status=%d next_start_s=%.1f", self.name, status, pause_s)
        return status

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def end(self, deadline: float) -> None:
        """Wait until the deadline (monotonic seconds), then kill it with all that it started."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        self._kill_group()
        self._process.wait()
        self._process = None

    def _kill_group(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def free_port(host: str) -> int:
    """Return a port that is free now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class Supervisor:
    """Run the children until told to stop."""

    def __init__(self, settings: Settings, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._announce = announce
        self._stop = threading.Event()
        self._port = settings.port or free_port(settings.host)

    def stop(self) -> None:
        """Ask `run` to end everything; safe in a signal handler."""
        self._stop.set()

    def run(self) -> int:
        """Serve until stopped; return the exit status. Raises ServiceError where it cannot start."""
        with sole_use(self._settings.data_dir), tempfile.TemporaryDirectory(prefix="lipsync-") as folder:
            store = None
            url = self._settings.redis_url
            if url is None:
                unix_socket = Path(folder, "redis.sock")
                url = f"unix://{unix_socket}"
                store = self._redis_child(unix_socket)
            environment = os.environ | {f"{PREFIX}REDIS_URL": url, f"{PREFIX}PORT": str(self._port)}
            parts = [Child(name, [sys.executable, "-m", "lipsync", name], environment) for name in ("api", "worker")]
            try:
                if store is not None:
                    store.start()
                    self._await_redis(url, store)
                for part in parts:
                    part.start()
                return self._watch([*parts, *([store] if store else [])])
            finally:
                end_all(parts, store)

    def _redis_child(self, unix_socket: Path) -> Child:
        folder = (self._settings.data_dir / "redis").resolve()
        folder.mkdir(mode=0o700, exist_ok=True)
        return Child("redis", redis_command(folder, unix_socket), dict(os.environ))

    def _await_redis(self, url: str, store: Child) -> None:
        deadline = time.monotonic() + REDIS_START_S
        while not self._stop.is_set():
            try:
                connect(url).ping()
                return
            except redis.ConnectionError:
                if store.keep_alive() is not None or time.monotonic() > deadline:
                    raise ServiceError(
                        ErrorCode.INTERNAL, "The private Redis did not start; redis/redis.log says why."
                    ) from None
            time.sleep(0.05)

    def _watch(self, children: list[Child]) -> int:
        is_announced = False
        while not self._stop.wait(_POLL_S):
            for child in children:
                if child.keep_alive() == REFUSED_STATUS:
                    return REFUSED_STATUS
            if not is_announced and self._is_ready():
                is_announced = True
                self._announce(f"lipsync is ready at {self._address()}")
        return 0

    def _address(self) -> str:
        host = self._reachable_host()
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def _reachable_host(self) -> str:
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._settings.host, self._settings.host)  # noqa: S104

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(self._reachable_host(), self._port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def end_all(parts: list[Child], store: Child | None) -> None:
    """End API and workers together, then Redis, so that the last words of both are kept."""
    for part in parts:
        part.ask_to_end()
    deadline = time.monotonic() + GRACE_S
    for part in parts:
        part.end(deadline)
    if store is not None:
        store.ask_to_end()
        store.end(time.monotonic() + REDIS_GRACE_S)


def serve(settings: Settings, announce: Callable[[str], None]) -> int:
    """Run Redis (where none is set), API and workers until SIGTERM or SIGINT; return the exit status.

    `announce` is given one line with the address as soon as a job sent there would be done. Raises ServiceError.
    """
    supervisor = Supervisor(settings, announce)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    return supervisor.run()
