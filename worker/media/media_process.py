"""Child process that decodes or encodes media: its pipes, its exit, and the guarantee that it ends with its owner.

No read or write blocks for longer than a quarter of a second before `check` is called. A canceled job therefore stops
even while its ffmpeg hangs. The error output of the process goes to an unnamed temporary file: into our log, never to a
client.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from app.core.checks import Check
from app.core.errors import ErrorCode, ServiceError
from app.core.parent_death import tied_to_this_process
from app.core.sandbox.confined import child_environment, program_access, start_confined
from app.core.sandbox.forked import ForkedChild, PythonProgram, fork_server
from app.core.sandbox.landlock import FileAccess
from app.core.sandbox.nvidia import gpu_devices, with_gpu

POLL_S: Final = 0.25
KILLED: Final = (-signal.SIGKILL, -signal.SIGTERM)  # no input file causes these
ASKED_TO_END: Final = 255  # the status of an ffmpeg that was asked to end, and of one whose GPU refuses to work
PIPE_BYTES: Final = 1024 * 1024  # the largest pipe that an unprivileged process may request
LOG_BYTES: Final = 2000
FILE_PROTOCOL: Final = "file:"
GPU_OPTIONS: Final = {"-hwaccel": "cuda", "-vcodec": "h264_nvenc"}  # of ffmpeg
# Written memory, not address space, of which the many threads of a big machine reserve more than they use. Ordinary 4K
# with 16 threads takes less than 2 GiB. No core dump, which would hold pictures of a person.
LIMITS: Final = {resource.RLIMIT_DATA: 8 * 1024**3, resource.RLIMIT_CORE: 0}

log = logging.getLogger(__name__)


def uses_gpu(command: Sequence[str]) -> bool:
    """Return whether an ffmpeg with these arguments decodes or encodes on an NVIDIA GPU."""
    return any(GPU_OPTIONS.get(name) == value for name, value in itertools.pairwise(command))


class ProcessKilledError(ServiceError):
    """Child process that was killed from outside: the file may be fine, and another attempt may succeed."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.WORKER_LOST, "A part of the worker was killed.")


def _made(path: Path) -> bool:
    """Create a file if it is missing; return False where that fails, which the process will find and tell itself."""
    try:
        path.touch()
    except OSError:
        return False
    return True


class MediaProcess:
    """Child process with a pipe to its input, a pipe from its output, or both or neither.

    output_fd: its output goes into this pipe, which another process reads. inherited_fd: a pipe that it reads besides
    its input. It starts when its context is entered, and it is killed when the context ends before the process does.

    A PythonProgram is forked by this process's fork server; it reads no input and sets limits of its own.

    It is confined: it reaches no network, and it opens only the files that ffmpeg's arguments name (`file:...`; those
    that do not follow `-i` are written) and those in `opens`, which it reads. One that decodes or encodes on an NVIDIA
    GPU also uses the GPU's devices.
    """

    def __init__(
        self,
        arguments: Sequence[str] | PythonProgram,
        check: Check,
        *,
        feeds: bool = False,
        reads: bool = False,
        output_fd: int | None = None,
        inherited_fd: int | None = None,
        opens: Sequence[Path] = (),
    ) -> None:
        self._arguments, self._check, self._feeds, self._reads = arguments, check, feeds, reads
        self._output_fd = subprocess.DEVNULL if output_fd is None else output_fd
        self._inherited = () if inherited_fd is None else (inherited_fd,)
        self._opens = opens
        self._uses_gpu = not isinstance(arguments, PythonProgram) and uses_gpu(arguments)

    def __enter__(self) -> MediaProcess:
        self._error_output = tempfile.TemporaryFile()  # closed in __exit__
        try:
            self._process = self._start()
        except BaseException:
            self._error_output.close()
            raise
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                with contextlib.suppress(PermissionError):  # beyond the system's pipe quota: slower but correct
                    fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return self

    def _start(self) -> subprocess.Popen[bytes] | ForkedChild:
        if isinstance(self._arguments, PythonProgram):
            access = program_access([sys.executable], self._opens)
            output = subprocess.PIPE if self._reads else self._output_fd
            errors = self._error_output.fileno()
            return fork_server().start(self._arguments, access, stdout=output, stderr=errors)
        # a child with a pipe ends when the pipe breaks; without a pipe, the kernel has to end it
        has_pipe = self._feeds or self._reads or self._output_fd != subprocess.DEVNULL
        arguments = list(self._arguments) if has_pipe else tied_to_this_process(list(self._arguments))
        process = start_confined(
            arguments,
            self._access(arguments[0], self._arguments),
            env=child_environment(),
            stdin=subprocess.PIPE if self._feeds else subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._reads else self._output_fd,
            stderr=self._error_output,
            bufsize=0,
            pass_fds=self._inherited,
            process_group=0,  # Ctrl-C reaches the worker alone, and the worker decides how its children end
        )
        with contextlib.suppress(ProcessLookupError):  # it has already ended
            for limit, most in LIMITS.items():
                resource.prlimit(process.pid, limit, (most, most))
        return process

    def _access(self, launcher: str, command: Sequence[str]) -> FileAccess:
        """Return what the process may open; files to be written are created, because a rule needs a file."""
        reads, writes = list(self._opens), list[Path]()
        for before, argument in itertools.pairwise(command):
            if argument.startswith(FILE_PROTOCOL):
                path = Path(argument.removeprefix(FILE_PROTOCOL))
                (reads if before == "-i" else writes).append(path)
        access = program_access(list(dict.fromkeys((launcher, command[0]))), reads, list(filter(_made, writes)))
        return with_gpu(access, gpu_devices()) if self._uses_gpu else access

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._error_output.close()

    def read_into(self, buffer: memoryview) -> int:
        """Fill a buffer from the output; return the number of bytes read, which is smaller only at the end."""
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
        """Write all of the data to the input; raises BrokenPipeError when the process has ended."""
        fd, written = _fileno(self._process.stdin), 0
        while written < len(data):
            if not select.select([], [fd], [], POLL_S)[1]:
                self._check()
                continue
            with contextlib.suppress(BlockingIOError):
                written += os.write(fd, data[written:])

    def close_input(self) -> None:
        """Close the input, so that the process knows that nothing more comes."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> int:
        """Wait for the end and return the exit status; raises ProcessKilledError if the process was killed."""
        while True:
            try:
                status = self._process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                self._check()
                continue
            if status in KILLED or (status == ASKED_TO_END and not self._uses_gpu):
                raise ProcessKilledError
            return status

    def error_output(self) -> str:
        """Return the end of the error output, for the log."""
        self._error_output.seek(0, os.SEEK_END)
        self._error_output.seek(max(0, self._error_output.tell() - LOG_BYTES))
        return self._error_output.read().decode("utf-8", "replace")

    def found_disk_full(self) -> bool:
        """Return whether the process, which has ended, said that there is no disk space left."""
        output = self.error_output()
        return any(os.strerror(number) in output for number in (errno.ENOSPC, errno.EDQUOT))

    def failure(self, code: ErrorCode, message: str) -> ServiceError:
        """Wait for the end of a failed process and return the error to raise.

        A full disk and lack of memory have codes of their own. Raises ProcessKilledError if the process was killed.
        """
        self.wait()
        output = self.error_output()
        log.warning("ffmpeg failed: %s", output.strip())
        if self.found_disk_full():
            return ServiceError(ErrorCode.STORAGE_FULL, "The service has no disk space left.")
        if os.strerror(errno.ENOMEM) in output:
            return ServiceError(ErrorCode.OUT_OF_MEMORY, "The worker ran out of memory.")
        return ServiceError(code, message)


def _fileno(pipe: IO[bytes] | None) -> int:
    if pipe is None:
        raise ValueError("the process was started without this pipe")
    return pipe.fileno()
