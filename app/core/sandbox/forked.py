"""Python programs in confined child processes that start in milliseconds, because a fork server has them loaded.

A Python that imports NumPy and PyAV takes 0.15 s of processor time before it does anything, which is more than most
files of strangers take to be probed. So each process that needs such children starts one server
(`app.core.sandbox.fork_server_program`) and asks it for them. A child is as confined as one that is executed: it
inherits no secret and no descriptor but its three streams, works in the folder of whoever asked for it, and puts the
kernel's rules on itself before it runs a line of the program. What it shares with its siblings is the layout of its
memory.
"""

from __future__ import annotations

import errno
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple

from app.core.sandbox.confined import child_environment
from app.core.sandbox.fork_server_program import DESCRIPTORS, NUMBER, REQUEST_BYTES
from app.core.sandbox.landlock import FileAccess

BLOCK_BYTES: Final = 64 * 1024
MOST_BYTES: Final = 64 * 1024**2  # of an output: more would be the work of a file that has taken its reader over
SERVER: Final = "app.core.sandbox.fork_server_program"
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a process with threads must not fork


class PythonProgram(NamedTuple):
    """Module with a function `main`, and its arguments, which are `sys.argv[1:]` there."""

    module: str
    arguments: tuple[str, ...]


class ForkedChild:
    """Child process of a fork server, with those methods of subprocess.Popen that its users need.

    If its server dies, it counts as killed. As a context manager it is waited for at the end.
    """

    def __init__(self, link: socket.socket, pid: int, stdout: IO[bytes] | None, stderr: IO[bytes] | None) -> None:
        self.pid, self.stdin, self.stdout, self.stderr = pid, None, stdout, stderr
        self.returncode: int | None = None
        self._link = link

    def __enter__(self) -> ForkedChild:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the child runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the child has ended; raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            ready = select.poll()  # not `select`, which knows no descriptor above 1023
            ready.register(self._link, select.POLLIN)
            if not ready.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = _received(self._link, -signal.SIGKILL)
            self._link.close()
        return self.returncode

    def kill(self) -> None:
        """Kill the child, unless it has ended."""
        if self.returncode is None:
            with suppress(OSError):
                self._link.send(b"kill")


class ForkServerClient:
    """The fork server of this process; it is started when it is first needed, and again if it was killed.

    Its children are killed when it is closed.
    """

    def __init__(self, requests: socket.socket | None = None) -> None:
        """Take requests to a server that runs already, if it is given its socket."""
        self._lock = threading.Lock()
        self._requests = requests

    def __enter__(self) -> ForkServerClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(self._requests)

    def start(
        self,
        program: PythonProgram,
        access: FileAccess,
        *,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
    ) -> ForkedChild:
        """Start a confined child without input; stdout, stderr: a descriptor, or as of subprocess.Popen.

        Raises OSError if that is not possible.
        """
        message = _message(program, access)
        try:
            return self._ask(message, stdout, stderr)
        except ConnectionError:  # the server was killed
            return self._ask(message, stdout, stderr)

    def load(self, module: str) -> None:
        """Let the server import the module of a program, so that not even its first child waits for that."""
        with Path(os.devnull).open("r+b", buffering=0) as null:
            self._send(json.dumps({"module": module}).encode(), [null.fileno()] * DESCRIPTORS)

    def _ask(self, message: bytes, stdout: int, stderr: int) -> ForkedChild:
        """Ask for a child; raises ConnectionError if the server is dead, OSError for other reasons."""
        with ExitStack() as theirs, ExitStack() as ours:
            null = theirs.enter_context(Path(os.devnull).open("r+b", buffering=0)).fileno()
            output, read_output = _stream(stdout, null, theirs, ours)
            errors, read_errors = _stream(stderr, null, theirs, ours)
            link, their_link = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.enter_context(link)
            theirs.enter_context(their_link)
            requests = self._send(message, [null, output, errors, their_link.fileno()])
            theirs.close()  # so that the link ends with the server
            pid = _received(link, 0)
            if pid == 0:
                self._close(requests)
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            if pid < 0:
                raise OSError(-pid, os.strerror(-pid))
            ours.pop_all()
            return ForkedChild(link, pid, read_output, read_errors)

    def _send(self, message: bytes, descriptors: list[int]) -> socket.socket:
        """Send a request to the server, which is started if need be; return the socket that took it."""
        with self._lock:  # so that nobody closes the socket meanwhile
            if self._requests is None:
                self._requests = _start_server()
            requests = self._requests
            try:
                socket.send_fds(requests, [message], descriptors)
            except ConnectionError:
                requests.close()
                self._requests = None
                raise
            return requests

    def _close(self, requests: socket.socket | None) -> None:
        with self._lock:
            if requests is not None and self._requests is requests:
                requests.close()
                self._requests = None


# By process, because a fork copies the connection of its parent.
_SERVERS: Final[dict[int, ForkServerClient]] = {}


def fork_server() -> ForkServerClient:
    """Return the fork server of this process."""
    return _SERVERS.setdefault(os.getpid(), ForkServerClient())  # one step, so all threads get the same


def run_forked(program: PythonProgram, access: FileAccess, *, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program in a confined child of the fork server and return its exit status and outputs.

    Raises subprocess.TimeoutExpired, and OSError if no child can be started or one writes more than MOST_BYTES. If this
    call ends early for any reason, the child is killed.
    """
    deadline = time.monotonic() + timeout_s
    with fork_server().start(program, access, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            output, errors = _read_all(child, deadline)
            status = child.wait(max(0.0, deadline - time.monotonic()))
        except BaseException:
            child.kill()
            raise
    return subprocess.CompletedProcess(
        program.module, status, output.decode(errors="replace"), errors.decode(errors="replace")
    )


def _start_server() -> socket.socket:
    """Start a fork server and return the socket for requests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    started: Future[None] = Future()

    def run() -> None:
        """Start the server and wait for its end: it is tied to the thread that starts it."""
        command = [sys.executable, "-m", SERVER, str(theirs.fileno()), str(os.getpid())]
        try:
            with theirs:
                process = subprocess.Popen(
                    command,
                    env={**child_environment(), **ONE_THREAD},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    process_group=0,
                )
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            started.set_exception(error)
            return
        started.set_result(None)
        process.wait()

    threading.Thread(target=run, name="fork server", daemon=True).start()
    try:
        started.result()
    except BaseException:
        ours.close()
        raise
    return ours


def _message(program: PythonProgram, access: FileAccess) -> bytes:
    folders = (access.programs, access.reads, access.writes, access.listed)
    paths = [[os.fspath(path) for path in paths] for paths in folders]
    request = {"module": program.module, "arguments": program.arguments, "access": paths, "folder": _working_folder()}
    message = json.dumps(request).encode()
    if len(message) > REQUEST_BYTES:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return message


def _working_folder() -> str:
    """Return the folder from which relative names are read; the root, if it has been deleted."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return os.sep


def _stream(wanted: int, null: int, theirs: ExitStack, ours: ExitStack) -> tuple[int, IO[bytes] | None]:
    """Return the descriptor that a child gets for an output, and for a pipe the end from which it is read.

    theirs, ours: close the ends of the pipe.
    """
    if wanted == subprocess.DEVNULL:
        return null, None
    if wanted != subprocess.PIPE:
        return wanted, None
    reading, writing = os.pipe()
    theirs.callback(os.close, writing)
    return writing, ours.enter_context(os.fdopen(reading, "rb", buffering=0))


def _received(link: socket.socket, instead: int) -> int:
    """Return the next number that a server sends, or another one if it has gone."""
    try:
        message = link.recv(NUMBER.size)
    except ConnectionError:
        return instead
    return int(NUMBER.unpack(message)[0]) if message else instead


def _read_all(child: ForkedChild, deadline: float) -> list[bytearray]:
    """Return all that a child writes into its two pipes; raises subprocess.TimeoutExpired, OSError(EFBIG)."""
    parts: dict[int, bytearray] = {}
    with selectors.DefaultSelector() as selector:
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ)
                parts[pipe.fileno()] = bytearray()
        while selector.get_map():
            left_s = deadline - time.monotonic()
            ready = selector.select(max(0.0, left_s))
            if not ready and left_s <= 0:
                raise subprocess.TimeoutExpired(str(child.pid), left_s)
            for key, _ in ready:
                block = os.read(key.fd, BLOCK_BYTES)
                parts[key.fd] += block
                if len(parts[key.fd]) > MOST_BYTES:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
                if not block:
                    selector.unregister(key.fileobj)
    return list(parts.values())
