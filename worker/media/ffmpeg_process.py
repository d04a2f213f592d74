"""Own an ffmpeg child: its pipes, its end, and the promise that it never outlives its owner.

No read or write blocks for longer than a quarter of a second before `check` is called, so a canceled job stops even
while its ffmpeg hangs. What ffmpeg says goes to an unnamed temporary file: to our log, never to a client.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Final

from app.core.checks import Check
from app.core.errors import ErrorCode, ServiceError
from app.core.parent_death import tied_to_this_process

POLL_S: Final = 0.25
KILLED: Final = (-signal.SIGKILL, -signal.SIGTERM, 255)  # no file brings them about; 255: ffmpeg was told to end
PIPE_BYTES: Final = 1024 * 1024  # the most an unprivileged process may ask for
LOG_BYTES: Final = 2000

log = logging.getLogger(__name__)


class ChildKilledError(ServiceError):
    """Report a child that somebody killed: nothing is said of the file, and another attempt may end well."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.WORKER_LOST, "A part of the worker was killed.")


class Child:
    """Run a program with a pipe to its input, from its output, or neither; use as a context manager."""

    def __init__(self, arguments: Sequence[str], check: Check, *, feeds: bool = False, reads: bool = False) -> None:
        self._check = check
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        if not feeds and not reads:  # a pipe that breaks ends its child; without one the kernel has to
            arguments = tied_to_this_process(list(arguments))
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE if feeds else subprocess.DEVNULL,
            stdout=subprocess.PIPE if reads else subprocess.DEVNULL,
            stderr=self._words,
            bufsize=0,
            process_group=0,  # Ctrl-C is for the worker, which knows what to do about its children
        )
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                with contextlib.suppress(PermissionError):  # beyond the system's pipe quota: slower, not wrong
                    fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._words.close()

    def read_into(self, buffer: memoryview) -> int:
        """Fill a buffer from the child's output; return the bytes read, fewer only at its end."""
        fd, filled = _fileno(self._process.stdout), 0
        while filled < len(buffer):
            if not select.select([fd], [], [], POLL_S)[0]:
                self._check()
                continue
            count = os.readv(fd, [buffer[filled:]])
            if count == 0:
                break
            filled += count
        return filled

    def write(self, data: memoryview) -> None:
        """Write all of the data to the child's input; raises BrokenPipeError when it has ended."""
        fd, written = _fileno(self._process.stdin), 0
        while written < len(data):
            if not select.select([], [fd], [], POLL_S)[1]:
                self._check()
                continue
            with contextlib.suppress(BlockingIOError):
                written += os.write(fd, data[written:])

    def close_input(self) -> None:
        """Tell the child that nothing more comes."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> int:
        """Wait for the child to end and return its exit status; raises ChildKilledError where it was made to."""
        while True:
            try:
                status = self._process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                self._check()
                continue
            if status in KILLED:
                raise ChildKilledError
            return status

    def words(self) -> str:
        """Return the last things the child said, for the log."""
        self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, self._words.tell() - LOG_BYTES))
        return self._words.read().decode("utf-8", "replace")

    def failure(self, code: ErrorCode, message: str) -> ServiceError:
        """Wait for a child that fails and return the error to raise: a full disk keeps its own code, and so on."""
        self.wait()
        words = self.words()
        log.warning("ffmpeg failed: %s", words.strip())
        if os.strerror(errno.ENOSPC) in words:
            return ServiceError(ErrorCode.STORAGE_FULL, "The service has no disk space left.")
        return ServiceError(code, message)


def _fileno(pipe: IO[bytes] | None) -> int:
    if pipe is None:
        raise ValueError("the child was started without this pipe")
    return pipe.fileno()
