from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.checks import Check, never_stop
from app.core.errors import ErrorCode
from tests.service import wait_until
from worker.media.ffmpeg_process import Child, ChildKilledError
from worker.pipeline.prefetch import Ahead

PYTHON = sys.executable


class StopError(Exception):
    pass


def stop_after(seconds: float) -> Check:
    deadline = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > deadline:
            raise StopError

    return check


def test_bytes_go_in_and_come_out() -> None:
    script = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data[::-1])"
    with Child([PYTHON, "-c", script], never_stop, feeds=True, reads=True) as child:
        child.write(memoryview(b"abc" * 1000))
        child.close_input()
        buffer = bytearray(3500)
        assert child.read_into(memoryview(buffer)) == 3000
        assert buffer[:6] == b"cbacba"
        assert child.wait() == 0


def test_a_signal_to_the_group_of_the_worker_is_not_the_childs() -> None:
    script = "import os; print(os.getpgid(0), flush=True)"
    with Child([PYTHON, "-c", script], never_stop, reads=True) as child:
        buffer = bytearray(20)
        count = child.read_into(memoryview(buffer))
    assert int(buffer[:count]) != os.getpgid(0)


@pytest.mark.parametrize("way", ["read", "write", "wait"])
def test_a_child_that_hangs_ends_with_its_owner(way: str) -> None:
    started = time.monotonic()
    with (
        pytest.raises(StopError),
        Child([PYTHON, "-c", "import time; time.sleep(60)"], stop_after(0.3), feeds=True, reads=True) as child,
    ):
        if way == "read":
            child.read_into(memoryview(bytearray(10)))
        elif way == "write":
            child.write(memoryview(bytes(8_000_000)))
        else:
            child.wait()
    assert time.monotonic() - started < 40  # the child sleeps for 60 s
    assert child._process.returncode is not None


def test_a_child_that_left_is_a_broken_pipe() -> None:
    with Child([PYTHON, "-c", "pass"], never_stop, feeds=True) as child, pytest.raises(BrokenPipeError):
        child.write(memoryview(bytes(8_000_000)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_was_killed_is_no_word_about_the_file(number: int) -> None:
    script = f"import os; os.kill(os.getpid(), {int(number)})"
    with Child([PYTHON, "-c", script], never_stop) as child, pytest.raises(ChildKilledError):
        child.wait()
    with Child([PYTHON, "-c", script], never_stop, feeds=True) as child, pytest.raises(ChildKilledError):
        raise child.failure(ErrorCode.ENCODE_FAILED, "It failed.")


def test_a_child_without_a_pipe_dies_with_its_owner(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    inner = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    outer = f"from worker.media.ffmpeg_process import Child; Child([{PYTHON!r}, '-c', {inner!r}], lambda: None).wait()"
    owner = subprocess.Popen([PYTHON, "-c", outer])
    wait_until(lambda: note.exists() and note.read_text(), 10)
    owner.kill()
    owner.wait(60)
    stat = Path(f"/proc/{note.read_text()}/stat")
    wait_until(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z", 5)


def test_what_a_child_says_is_for_the_log_only() -> None:
    with Child([PYTHON, "-c", "import sys; sys.exit('/secret/path: No space left on device')"], never_stop) as child:
        assert child.wait() == 1
        error = child.failure(ErrorCode.ENCODE_FAILED, "It failed.")
    assert error.code == ErrorCode.STORAGE_FULL
    assert "/secret" not in error.message


def test_items_come_in_order_from_the_thread() -> None:
    def make(check: Check) -> Iterator[int]:
        for i in range(50):
            check()
            yield i

    with Ahead(make, 4, never_stop) as items:
        assert list(items) == list(range(50))


def test_an_error_in_the_thread_is_raised_where_items_are_used() -> None:
    def make(check: Check) -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with Ahead(make, 4, never_stop) as items, pytest.raises(ValueError, match="broken"):
        assert list(items) == [1]


def test_the_thread_ends_when_nobody_wants_more() -> None:
    ended = []

    def make(check: Check) -> Iterator[int]:
        try:
            while True:
                check()
                yield 0
        finally:
            ended.append(True)

    with Ahead(make, 2, never_stop) as items:
        assert next(iter(items)) == 0
    assert ended == [True]


def test_waiting_for_the_thread_can_be_stopped() -> None:
    def make(check: Check) -> Iterator[int]:
        for _ in range(1000):
            time.sleep(0.05)
            check()
        yield 0

    with pytest.raises(StopError), Ahead(make, 2, stop_after(0.3)) as items:
        next(iter(items))
