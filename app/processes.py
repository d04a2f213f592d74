"""Several processes of the API that serve the same sockets, for machines with more cores than one process can use.

The parent listens and forks; it serves nothing itself. A process that dies is replaced. Each process has the limits on
connections, listeners and uploads for itself, and its own reaper, sweeper and sender of webhooks: all that these share
lies in Redis, and any number of them may run at once. Metrics are counted in files of a folder and added when somebody
asks for them, whichever process answers.

Nothing that the processes need may be imported here: prometheus_client decides at its import where it counts.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Final

from app.core.parent_death import die_with_parent

METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client
STARTUP_FAILURE: Final = 3  # exit status of a server that cannot start; each new one would end so, too
POLL_S: Final = 0.5
PAUSE_S: Final = 1.0  # before a process is replaced
END_TIMEOUT_S: Final = 11.0  # a little more than a server takes to let its answers end

_log = logging.getLogger("lipsync.api")


@dataclass
class _Stop:
    """Whether the processes shall end. No threading.Event: a signal that comes while its lock is held would hang."""

    is_wanted: bool = False

    def want(self, *_: object) -> None:
        """Handle a signal."""
        self.is_wanted = True


def run_processes(count: int, serve: Callable[[], None]) -> int:
    """Run `serve` in so many processes until SIGTERM or SIGINT; return the exit status.

    `serve` ends after SIGTERM. Call it in the main thread of a process that has no other threads.
    """
    stop = _Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop.want)
    with tempfile.TemporaryDirectory(prefix="lipsync-metrics-") as folder:
        os.environ[METRICS_FOLDER] = folder
        processes: list[BaseProcess] = []
        try:
            for _ in range(count):
                processes.append(_start(serve))
            return _watch(processes, serve, stop)
        finally:
            _end(processes)


def _watch(processes: list[BaseProcess], serve: Callable[[], None], stop: _Stop) -> int:
    while not stop.is_wanted:
        wait([process.sentinel for process in processes], POLL_S)
        for place, process in enumerate(processes):
            if process.is_alive() or stop.is_wanted:
                continue
            if process.exitcode == STARTUP_FAILURE:
                return STARTUP_FAILURE
            _log.warning("process ended pid=%s status=%s", process.pid, process.exitcode)
            _forget_metrics(process)
            time.sleep(PAUSE_S)
            if not stop.is_wanted:
                processes[place] = _start(serve)
    return 0


def _start(serve: Callable[[], None]) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=_run, args=(serve, os.getpid()))
    process.start()
    return process


def _run(serve: Callable[[], None], parent_pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):  # until the server has its own handlers
        signal.signal(number, signal.SIG_DFL)
    die_with_parent(parent_pid)
    serve()


def _end(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + END_TIMEOUT_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _forget_metrics(process: BaseProcess) -> None:
    """Remove what a dead process said of its present state; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
