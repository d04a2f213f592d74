"""The whole service in one command: a private Redis, the API and the workers as supervised child processes.

What a start needs is checked before anything runs. A Redis of somebody else is waited for a few seconds only. A child
that dies is started again, after a pause that grows with each death. A child that refuses its settings (exit status 2)
ends the whole service, and so does one that dies again and again, both only before the service was ever ready: later
the same settings have worked, and what is missing now can come back. Ready means that a
worker of this very service waits for jobs: Redis may still hold the announcement of one that ended a moment ago.

The private Redis listens on a unix socket only and appends every change to a file in the data folder, so a restart
continues with all jobs of the last run. If this process is killed, the kernel kills every child too.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import redis

from app.core.errors import ErrorCode, InputError, ServiceError
from app.core.listening import listening_sockets
from app.core.locks import sole_use
from app.core.own_modules import with_own_modules
from app.core.private_redis import publish_socket, redis_command, redis_folder
from app.core.records.connection import connect
from app.core.records.records import RecordLimits, Records, pid_of_worker
from app.core.settings import PREFIX, Settings
from app.core.start_checks import (
    REDIS_ANSWERS,
    REDIS_AWAY,
    check_data_dir,
    check_ffmpeg,
    check_redis_login,
    check_storage,
)
from lipsync.supervised_process import SupervisedProcess

REFUSED_STATUS: Final = 2
GRACE_S: Final = 12.0  # from SIGTERM until a child is killed
REDIS_GRACE_S: Final = 5.0
SHORT_USE_S: Final = 2.0  # `lipsync keys` uses the data folder for less than this
REDIS_AWAY_S: Final = 5.0  # for which the start waits for a Redis that somebody else runs
REDIS_START_S: Final = 60.0  # Redis reads its append-only file first, which may be long
_POLL_S: Final = 0.2
MAX_EARLY_DEATHS: Final = 5  # of one child, before the service is ready for the first time

COMMANDS: Final = {name: [sys.executable, "-m", "lipsync", name] for name in ("api", "worker")}
# Settings that a worker can refuse, with the values that it never refuses.
_NEVER_REFUSED: Final = {
    "device": ("auto",),
    "precision": ("auto",),
    "checkpoint": (None,),
    "speech_encoder": (None,),
    "runtime": ("auto", "torch"),
    "video_decoder": ("software", "auto"),
    "video_encoder": ("software", "auto"),
}


def free_port(host: str) -> int:
    """Return a TCP port that nothing uses now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class Supervisor:
    """Runner of Redis, API and workers."""

    def __init__(
        self,
        settings: Settings,
        announce: Callable[[str], None],
        commands: Mapping[str, list[str]] = COMMANDS,
        max_early_deaths: int = MAX_EARLY_DEATHS,
        redis_away_s: float = REDIS_AWAY_S,
    ) -> None:
        self._settings, self._announce = settings, announce
        self._commands, self._max_early_deaths = commands, max_early_deaths
        self._redis_away_s = redis_away_s
        self._stop = threading.Event()
        self._port = settings.port
        self._parts: dict[str, SupervisedProcess] = {}

    def stop(self) -> None:
        """Ask `run` to end; safe in a signal handler."""
        self._stop.set()

    def run(self) -> int:
        """Serve until stopped; return the exit status. Raises LipSyncError if the service cannot start."""
        check_data_dir(self._settings)
        with sole_use(self._settings.data_dir, SHORT_USE_S), tempfile.TemporaryDirectory(prefix="lipsync-") as folder:
            if not self._check_start():
                return REFUSED_STATUS
            private_redis = None
            url = self._settings.redis_url
            if url is None:
                unix_socket = Path(folder, "redis.sock")
                url = f"unix://{unix_socket}"
                private_redis = self._redis_process(unix_socket)
            own = {f"{PREFIX}REDIS_URL": url, f"{PREFIX}PORT": str(self._port)}
            environment = with_own_modules(os.environ | own)
            self._parts = {
                name: SupervisedProcess(name, command, environment) for name, command in self._commands.items()
            }
            try:
                if private_redis is not None:
                    private_redis.start()
                    await_redis(url, private_redis, self._stop)
                with closing(connect(url)) as client:
                    return self._start_parts(Records(client, RecordLimits.of(self._settings)), private_redis)
            finally:
                end_all([*self._parts.values()], private_redis)

    def _check_start(self) -> bool:
        """Check what API and workers will need, and choose the port. Raises LipSyncError.

        Return False if the check of a worker said what is wrong. That check loads torch, so it is made in a process of
        its own, and only if there is a setting that can be wrong.
        """
        settings = self._settings
        sockets = listening_sockets(settings.host, settings.port)
        self._port = sockets[0].getsockname()[1]
        for opened in sockets:
            opened.close()
        check_storage(settings)
        check_ffmpeg(settings)
        self._check_redis()
        if all(getattr(settings, name) in values for name, values in _NEVER_REFUSED.items()):
            return True
        environment = with_own_modules(os.environ | {f"{PREFIX}REDIS_URL": settings.redis_url or "unix:///none"})
        return subprocess.run([*COMMANDS["worker"], "--check"], env=environment, check=False).returncode == 0

    def _check_redis(self) -> None:
        """Wait a few seconds for a Redis of somebody else; raises InputError if it does not answer or refuses."""
        deadline = time.monotonic() + self._redis_away_s
        while self._settings.redis_url is not None and (found := check_redis_login(self._settings)) != REDIS_ANSWERS:
            if time.monotonic() > deadline:
                start = "Start it first, or unset this for a private one."
                message = f"LIPSYNC_REDIS_URL: Redis {found}. {start if found == REDIS_AWAY else 'Its log says why.'}"
                raise InputError(ErrorCode.OPTION_INVALID, message)
            if self._stop.wait(_POLL_S):
                return

    def _redis_process(self, unix_socket: Path) -> SupervisedProcess:
        folder = redis_folder(self._settings.data_dir)
        publish_socket(self._settings.data_dir, unix_socket)
        return SupervisedProcess("redis", redis_command(folder, unix_socket), dict(os.environ))

    def _start_parts(self, records: Records, private_redis: SupervisedProcess | None) -> int:
        """Start API and workers and watch all children; return the exit status. Raises LipSyncError."""
        try:
            started_ms = records.time_ms()
        except redis.RedisError:
            raise ServiceError(ErrorCode.INTERNAL, "Redis does not answer.") from None
        for part in self._parts.values():
            part.start()
        children = [*self._parts.values(), *([private_redis] if private_redis else [])]
        return self._watch(children, lambda: self._is_ready() and self._has_worker(records, started_ms))

    def _watch(self, children: list[SupervisedProcess], is_ready: Callable[[], bool]) -> int:
        is_announced = False
        while not self._stop.wait(_POLL_S):
            for child in children:
                status = child.restart_if_dead()
                if status == REFUSED_STATUS and not is_announced:
                    message = f"The process {child.name!r} refused its settings; its line `error:` above says why."
                    raise ServiceError(ErrorCode.INTERNAL, message)
                if status is not None and not is_announced and child.deaths >= self._max_early_deaths:
                    message = f"The process {child.name!r} ended {child.deaths} times at its start, at last with "
                    raise ServiceError(ErrorCode.INTERNAL, f"{message}status {status}; the lines above say why.")
            if not is_announced and is_ready():
                is_announced = True
                self._announce(f"lipsync is ready at {self._address()}")
        return 0

    def _has_worker(self, records: Records, since_ms: int) -> bool:
        """Return whether a worker of this service has announced itself since a time of Redis."""
        worker = self._parts.get("worker")
        if worker is None:
            return True
        try:
            pids = [pid_of_worker(name) for name in records.announced_since(since_ms)]
        except redis.RedisError:
            return False
        return any(pid is not None and worker.includes(pid) for pid in pids)

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


def await_redis(url: str, private_redis: SupervisedProcess, stop: threading.Event) -> None:
    """Wait until a private Redis answers, or until `stop` is set; raises ServiceError if it does not start."""
    deadline = time.monotonic() + REDIS_START_S
    with closing(connect(url)) as client:
        while not stop.is_set():
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if private_redis.restart_if_dead() is not None or time.monotonic() > deadline:
                    raise ServiceError(
                        ErrorCode.INTERNAL, "The private Redis did not start; redis/redis.log says why."
                    ) from None
            time.sleep(0.05)


def end_all(parts: list[SupervisedProcess], private_redis: SupervisedProcess | None) -> None:
    """End API and workers together, then Redis, so that Redis saves the last changes of both."""
    for part in parts:
        part.ask_to_end()
    deadline = time.monotonic() + GRACE_S
    for part in parts:
        part.end(deadline)
    if private_redis is not None:
        private_redis.ask_to_end()
        private_redis.end(time.monotonic() + REDIS_GRACE_S)


def serve(settings: Settings, announce: Callable[[str], None]) -> int:
    """Run Redis (if LIPSYNC_REDIS_URL is unset), API and workers until a signal to stop; return the exit status.

    The signals are SIGTERM, SIGINT and, unless it is ignored as under `nohup`, SIGHUP. `announce` gets one line with
    the address as soon as the service can do jobs. Raises LipSyncError.
    """
    supervisor = Supervisor(settings, announce)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: supervisor.stop())
    return supervisor.run()
