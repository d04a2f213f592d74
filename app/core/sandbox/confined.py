"""Child processes that open files of strangers, confined by the kernel.

The confinement is put on a thread of its own, which starts the child, so the child has it from its first instruction.
That costs less than a millisecond; a launcher in between would cost the start of a Python, and `preexec_fn` a copy of
the worker's page tables. The thread stays until the child has ended, because a child that is tied to its parent
(app.core.parent_death) is tied to the thread that started it.

The kernel may lack a part of it. The child then runs without that part; `lipsync doctor` says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from app.core.own_modules import ROOT, with_own_modules
from app.core.sandbox.landlock import FileAccess, python_access, refuse_other_files
from app.core.sandbox.seccomp import refuse_system_calls

# All that a decoder needs of the environment; secrets of the service are not in it.
KEPT_NAMES: Final = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TZ", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")

SCRIPT_PROGRAMS: Final = ("/bin", "/usr/bin", "/usr/local/bin")  # what a script in ffmpeg's place may execute

ATTEMPT_TIMEOUT_S: Final = 30.0
ATTEMPTS: Final = """
import socket, sys
for attempt in (socket.socket, lambda: open(sys.argv[1])):
    try:
        attempt()
        print("done")
    except PermissionError:
        print("refused")
"""


class Confinement(NamedTuple):
    """Parts of the confinement that are active."""

    system_calls: bool
    files: bool


def confine_this_thread(access: FileAccess) -> Confinement:
    """Confine the calling thread, and all that it starts, for good."""
    files = refuse_other_files(access)
    return Confinement(refuse_system_calls(), files)


class ConfinedChild(subprocess.Popen[bytes]):
    """Child process whose end is noticed at once; `Popen` itself only looks every 50 ms when it waits for a while."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self.ended = threading.Event()
        super().__init__(command, **options)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the child has ended; raises subprocess.TimeoutExpired."""
        if timeout is None:
            return super().wait()
        self.ended.wait(timeout)
        return super().wait(0)


def start_confined(command: Sequence[str], access: FileAccess, **options: Any) -> ConfinedChild:
    """Start a child process that is confined; `options` are those of subprocess.Popen. Raises OSError as it does."""
    started: Future[ConfinedChild] = Future()

    def run() -> None:
        try:
            confine_this_thread(access)
            process = ConfinedChild(command, **options)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            started.set_exception(error)
            return
        started.set_result(process)
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # the caller collects the exit status
        process.ended.set()

    threading.Thread(target=run, name="confined child", daemon=True).start()
    return started.result()


def run_confined(
    command: Sequence[str], access: FileAccess, *, timeout_s: float, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a confined child without input, in a process group of its own; return its exit status and outputs.

    Raises subprocess.TimeoutExpired. If this call ends early for any reason, the child is killed.
    """
    pipe = subprocess.PIPE
    with start_confined(
        command, access, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment, process_group=0
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(
            command, process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")
        )


def program_access(programs: Sequence[str], reads: Sequence[Path] = (), writes: Sequence[Path] = ()) -> FileAccess:
    """Return the access of programs that use each other in this order, with what they and Python themselves need."""
    read, listed = list(reads), tuple[Path, ...]()
    executed = [Path(program) for program in programs]
    for program in programs:
        if program == sys.executable:
            needed, listed = python_access(ROOT)
            read += needed
            continue
        read += sorted(Path(program).resolve().parent.parent.glob("lib*"))
        if _is_script(Path(program)):
            executed += map(Path, SCRIPT_PROGRAMS)
    for folder in filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")):
        read.append(Path(folder))
    return FileAccess(tuple(executed), tuple(read), tuple(writes), listed)


def try_confinement() -> Confinement:
    """Return what a confined child cannot do here: make a socket, and open a file that is not its own."""
    with tempfile.NamedTemporaryFile() as other:
        command = [sys.executable, "-c", ATTEMPTS, other.name]
        access = program_access([sys.executable])
        child = run_confined(command, access, timeout_s=ATTEMPT_TIMEOUT_S, environment=child_environment())
    answers = child.stdout.split()
    return Confinement(answers[:1] == ["refused"], answers[1:] == ["refused"])


def _is_script(program: Path) -> bool:
    try:
        with program.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def child_environment() -> dict[str, str]:
    """Return the environment for a confined child; a Python program takes no modules from the working folder."""
    kept = {name: os.environ[name] for name in KEPT_NAMES if name in os.environ}
    return with_own_modules(kept | {"LC_ALL": "C.UTF-8"})
