"""What a confined child can and cannot do; the parts that this kernel lacks are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from app.core.sandbox.confined import child_environment, program_access, run_confined, start_confined, try_confinement
from app.core.sandbox.forked import PythonProgram, run_forked
from tests.app.core.sandbox import attempts
from tests.service import wait_until

ACTIVE = try_confinement()
ALWAYS = {
    "read its own file": "open(own).read()",
    "use the null device": "open(os.devnull, 'w')",
    "start a thread": "threading.Thread(target=print).start()",
    "signal itself": "os.kill(os.getpid(), 0)",
    "load a library": "__import__('av.codec')",
}
WITHOUT_CALLS = {
    "a socket": "socket.socket()",
    "a socket of IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "a local socket": "socket.socket(socket.AF_UNIX)",
    "a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "a socket of the kernel": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "a pair of sockets": "socket.socketpair()",
    "io_uring": "call(425, 8, ctypes.create_string_buffer(120))",
    "a user namespace": "call(97 if os.uname().machine == 'aarch64' else 272, 0x10000000)",
    "a clone in a namespace": "call(220 if os.uname().machine == 'aarch64' else 56, 0x10000011, 0, 0, 0, 0)",
}
WITHOUT_FILES = {
    "another file": "open(other).read()",
    "a system file": "open('/etc/passwd').read()",
    "the names of a folder": "os.listdir(os.path.dirname(other))",
    "the environment of its parent": "open(f'/proc/{parent}/environ').read()",
    "the memory of its parent": "open(f'/proc/{parent}/mem', 'rb')",
    "writing to its own input": "open(own, 'a')",
    "a new file": "open(own + '.new', 'w')",
    "removing its own input": "os.unlink(own)",
    "a shell": "subprocess.run(['/bin/sh', '-c', 'true'])",
}


@pytest.fixture
def folder():
    """Return a folder outside of all that programs may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "own").write_text("own")
        Path(name, "other").write_text("other")
        yield Path(name)


@pytest.fixture(params=["executed", "forked"])
def attempt(request, folder):
    """Return a function that attempts something in a confined child and returns `done`, or the error."""

    def run(what: str) -> str:
        arguments = [what, str(folder / "own"), str(folder / "other"), str(os.getpid())]
        access = program_access([sys.executable], reads=[folder / "own"])
        if request.param == "forked":
            child = run_forked(PythonProgram(attempts.__name__, tuple(arguments)), access, timeout_s=60)
        else:
            command = [sys.executable, "-m", attempts.__name__, *arguments]
            child = run_confined(command, access, timeout_s=60, environment=child_environment())
        assert child.stdout, child.stderr
        return child.stdout.split()[-1]

    return run


@pytest.mark.parametrize("what", ALWAYS)
def test_a_decoder_can(attempt, what):
    assert attempt(ALWAYS[what]) == "done"


@pytest.mark.skipif(not ACTIVE.system_calls, reason="this machine has no seccomp filter")
@pytest.mark.parametrize("what", WITHOUT_CALLS)
def test_no_way_to_the_network(attempt, what):
    assert attempt(WITHOUT_CALLS[what]) == "PermissionError"


@pytest.mark.skipif(not ACTIVE.files, reason="this kernel has no Landlock")
@pytest.mark.parametrize("what", WITHOUT_FILES)
def test_no_way_to_other_files(attempt, folder, what):
    assert attempt(WITHOUT_FILES[what]) == "PermissionError"
    assert (folder / "own").read_text() == "own"


def test_a_file_to_write_is_written(folder):
    access = program_access([sys.executable], writes=[folder / "own"])
    command = [sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write('new')", str(folder / "own")]
    assert run_confined(command, access, timeout_s=60, environment=child_environment()).returncode == 0
    assert (folder / "own").read_text() == "new"


def test_the_confinement_is_the_childs_alone(attempt, folder):
    attempt("None")
    assert (folder / "other").read_text() == "other"
    assert subprocess.run(["/bin/sh", "-c", "true"], check=False).returncode == 0


def test_secrets_are_not_in_the_environment(monkeypatch):
    for name in ("LIPSYNC_WEBHOOK_SECRET", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "LD_PRELOAD"):
        monkeypatch.setenv(name, "secret")
    assert "secret" not in child_environment().values() and "PATH" in child_environment()


def test_a_program_that_is_missing_is_an_error(folder):
    with pytest.raises(FileNotFoundError):
        start_confined([str(folder / "nothing")], program_access([str(folder / "nothing")]))


def test_a_slow_child_is_killed(folder):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(subprocess.TimeoutExpired):
        run_confined(command, program_access(command[:1]), timeout_s=0.2, environment=child_environment())
    wait_until(lambda: not any(thread.name == "confined child" for thread in threading.enumerate()), 5)


def test_the_end_of_a_child_is_noticed():
    cat = shutil.which("cat") or ""
    with start_confined([cat], program_access([cat]), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        assert not process.ended.is_set()
        assert process.stdin is not None
        process.stdin.close()
        assert process.ended.wait(60)
        assert process.returncode is None, "the caller collects the exit status"
        assert [process.wait(60), process.wait(0), process.wait()] == [0, 0, 0]


def test_a_script_may_stand_for_ffmpeg(folder):
    script = folder / "ffmpeg"
    script.write_text("#!/bin/sh\nexec /bin/echo $1\n")
    script.chmod(0o755)
    access = program_access([str(script)])
    child = run_confined([str(script), "hello"], access, timeout_s=60, environment=child_environment())
    assert child.stdout == "hello\n"


def test_a_child_reads_our_packages_however_this_process_found_them(tmp_path: Path) -> None:
    """The installed command `lipsync` does not have the folder of an editable installation on its path."""
    program = "import sys; from app.core.sandbox.confined import *; print(ROOT in map(Path, sys.path))\n"
    child = "child = run_confined([sys.executable, '-c', 'import app.core.jobs; print(1)'], "
    arguments = "program_access([sys.executable]), timeout_s=60, environment=child_environment())\n"
    program += f"{child}{arguments}print(child.stdout, child.stderr)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["False", "1"], done.stdout + done.stderr
