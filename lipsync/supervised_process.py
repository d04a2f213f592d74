"""A child process that its supervisor starts again when it dies."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import Final

from app.core.parent_death import tied_to_this_process

_MAX_BACKOFF_S: Final = 10.0
_STEADY_S: Final = 30.0  # a child that ran longer than this is started again without a longer pause

_log = logging.getLogger("lipsync.serve")


class SupervisedProcess:
    """Child process in a process group of its own, started again after it dies."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self._command = tied_to_this_process(command)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._deaths = 0  # in a row: a steady run begins a new count
        self._due_at = 0.0

    @property
    def pid(self) -> int | None:
        """Return the process id, also the id of the group; None if the process has not been started."""
        return None if self._process is None else self._process.pid

    @property
    def deaths(self) -> int:
        """Return how often in a row the process died soon after its start."""
        return self._deaths

    def includes(self, pid: int) -> bool:
        """Return whether a process is this one or was started by it."""
        try:
            return self._process is not None and os.getpgid(pid) == self._process.pid
        except ProcessLookupError:
            return False

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches only the supervisor."""
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._started_at = time.monotonic()

    def restart_if_dead(self) -> int | None:
        """Start the process again if it died and its pause is over; return its exit status when a death is found."""
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
        """Wait until the deadline (monotonic seconds), then kill the process and all that it started."""
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
