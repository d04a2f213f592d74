"""Children of the fork server: how they end, what they inherit, and that none outlives who asked for it."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from app.core.sandbox.confined import program_access
from app.core.sandbox.forked import MOST_BYTES, ForkedChild, ForkServerClient, PythonProgram, fork_server, run_forked
from app.core.sandbox.landlock import FileAccess
from tests.app.core.sandbox import programs
from tests.conftest import ROOT
from tests.processes import children_of, name_of
from tests.service import wait_until

ACCESS = program_access([sys.executable], reads=[Path("/proc")])


def program(*arguments: object) -> PythonProgram:
    return PythonProgram(programs.__name__, tuple(map(str, arguments)))


def run(*arguments: object, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return run_forked(program(*arguments), ACCESS, timeout_s=timeout_s)


def asleep(server: ForkServerClient) -> ForkedChild:
    child = server.start(program("sleep"), ACCESS, stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.read(6) == b"asleep"
    return child


def is_reaped(pid: int) -> bool:
    return not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("exit", 0), 0),
        (("exit", 7), 7),
        (("leave", 3), 3),
        (("raise",), 1),
        (("signal", int(signal.SIGSEGV)), -signal.SIGSEGV),
        (("signal", int(signal.SIGTERM)), -signal.SIGTERM),
    ],
)
def test_the_exit_status_is_that_of_the_program(arguments: tuple[object, ...], status: int) -> None:
    child = run(*arguments)
    assert child.returncode == status
    assert ("ValueError: out of order" in child.stderr) == (arguments == ("raise",))


def test_a_program_that_cannot_be_imported_fails_and_says_so() -> None:
    child = run_forked(PythonProgram("app.core.sandbox.nothing", ()), ACCESS, timeout_s=60)
    assert child.returncode == 1 and "ModuleNotFoundError" in child.stderr


def test_long_outputs_are_read_from_both_pipes() -> None:
    child = run("write", 300_000)
    assert (child.stdout, child.stderr) == ("o" * 300_000, "e" * 300_000)


def test_a_child_that_writes_without_end_is_killed() -> None:
    with pytest.raises(OSError, match="too large"):
        run("write", MOST_BYTES + 1)
    wait_until(lambda: not forked_children(), 10)


def test_nothing_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIPSYNC_WEBHOOK_SECRET", "secret")
    with Path(os.devnull).open() as opened:
        os.set_inheritable(opened.fileno(), True)
        with (
            ForkServerClient() as client,
            asleep(client) as other,
            client.start(program("self"), ACCESS, stdout=subprocess.PIPE) as child,
        ):
            assert child.stdout is not None
            facts, names, rest = child.stdout.read().decode().splitlines()
            # three streams, and the folder that is listed
            assert facts.split()[1:] == [str(child.pid), "4", "1"] and facts.split()[0] != str(os.getpid())
            assert "LIPSYNC_WEBHOOK_SECRET" not in names.split()
            assert rest.startswith("0 ") or "SIG_DFL" in rest  # no handler of the server, and an empty input
            other.kill()


def forked_children() -> list[psutil.Process]:
    return [child for child in children_of(os.getpid(), recursive=True) if name_of(child).startswith("sandbox.program")]


def test_names_are_read_from_the_folder_of_the_asker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "note").write_text(name)
        monkeypatch.chdir(folder)
        done = run_forked(program("read", "note"), program_access([sys.executable], reads=[Path("note")]), timeout_s=60)
        assert done.stdout.strip() == name, done.stderr
    shutil.rmtree(folder)
    assert run("exit", 0).returncode == 0


def test_a_slow_child_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run("sleep", timeout_s=1)
    wait_until(lambda: not forked_children(), 10)


def test_a_killed_child_has_the_status_of_its_signal() -> None:
    with asleep(fork_server()) as child:
        assert child.poll() is None
        child.kill()
        assert child.wait(10) == -signal.SIGKILL == child.poll()
        child.kill()  # a second time, or after the end, it does nothing


FORKS_ONCE = """
import errno, os, socket, sys
from app.core.sandbox.fork_server_program import ForkServer

forks = [os.fork]

def fork():
    if not forks:
        raise BlockingIOError(errno.EAGAIN, "no more processes")
    return forks.pop()()

ForkServer(socket.socket(fileno=int(sys.argv[1])), fork).serve()
"""


def test_a_child_that_cannot_be_forked_costs_no_other() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-c", FORKS_ONCE, str(theirs.fileno())]
    with theirs:
        server = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
    with server, ForkServerClient(ours) as client, asleep(client) as child:
        with pytest.raises(BlockingIOError):
            client.start(program("exit", 0), ACCESS)
        assert child.poll() is None
        child.kill()
        assert child.wait(60) == -signal.SIGKILL


def test_children_die_with_the_server_and_the_next_one_is_served() -> None:
    with ForkServerClient() as client, asleep(client) as child:
        server = psutil.Process(child.pid).parent()
        assert server is not None
        server.kill()
        assert child.wait(10) == -signal.SIGKILL
        wait_until(lambda: is_reaped(child.pid), 10)
        with client.start(program("exit", 5), ACCESS) as other:
            assert other.wait(60) == 5


def test_a_client_that_is_closed_leaves_no_process() -> None:
    with ForkServerClient() as client:
        child = asleep(client)
        server = psutil.Process(child.pid).ppid()
    assert child.wait(10) == -signal.SIGKILL
    wait_until(lambda: is_reaped(child.pid) and is_reaped(server), 10)
    assert child.stdout is not None
    child.stdout.close()


def test_the_server_dies_with_its_parent_even_if_that_is_killed() -> None:
    code = f"from {__name__} import *; child = asleep(fork_server()); print(child.pid, flush=True); child.wait()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        server = psutil.Process(pid).ppid()
        parent.kill()
    wait_until(lambda: is_reaped(pid) and is_reaped(server), 10)


def test_many_threads_share_one_server_and_each_gets_its_own_answer() -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda number: run("exit", number).returncode, range(24)))
    assert statuses == list(range(24))


def test_a_thread_that_ends_does_not_take_the_server_with_it() -> None:
    pids: list[int] = []

    def ask(client: ForkServerClient) -> None:
        with client.start(program("self"), ACCESS, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            pids.append(int(child.stdout.read().split()[0]))

    with ForkServerClient() as server:
        for _ in range(2):
            thread = threading.Thread(target=ask, args=(server,))
            thread.start()
            thread.join()
    assert pids[0] == pids[1]


def descriptors() -> set[int]:
    """Return the descriptors of this process that stay open."""
    return {number for number in range(1024) if Path(f"/proc/self/fd/{number}").exists()}


@pytest.mark.parametrize("spare", range(8))
def test_a_lack_of_descriptors_is_an_error_and_leaves_none_open(spare: int) -> None:
    assert run("exit", 0).returncode == 0  # the server runs
    before, limits = descriptors(), resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(before)
    free = [number for number in range(highest) if number not in before]
    taken = [os.dup(0) for _ in free]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + spare, limits[1]))
        with suppress(OSError):
            run("exit", 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in taken:
            os.close(number)
    assert descriptors() == before and run("exit", 4).returncode == 4


def test_a_module_is_loaded_before_it_is_needed() -> None:
    with ForkServerClient() as client:
        client.load("app.core.sandbox.nothing")  # what cannot be loaded is told by the child that needs it
        client.load(programs.__name__)
        with client.start(program("exit", 6), ACCESS) as child:
            assert child.wait(60) == 6


def test_a_request_that_is_too_long_is_an_error() -> None:
    with pytest.raises(OSError, match="too long"):
        fork_server().start(program("exit", "0" * 200_000), FileAccess(()))
