from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.core.checks import never_stop
from app.core.errors import ErrorCode
from tests.processes import is_gone
from tests.service import wait_until
from tests.worker.stop import StopError, stop_after
from worker.media.media_process import MediaProcess, ProcessKilledError

PYTHON = sys.executable


def test_bytes_go_in_and_come_out() -> None:
    script = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data[::-1])"
    with MediaProcess([PYTHON, "-c", script], never_stop, feeds=True, reads=True) as process:
        process.write(memoryview(b"abc" * 1000))
        process.close_input()
        buffer = bytearray(3500)
        assert process.read_into(memoryview(buffer)) == 3000
        assert buffer[:6] == b"cbacba"
        assert process.wait() == 0


def test_a_signal_to_the_group_of_the_worker_is_not_the_childs() -> None:
    script = "import os; print(os.getpgid(0), flush=True)"
    with MediaProcess([PYTHON, "-c", script], never_stop, reads=True) as process:
        buffer = bytearray(20)
        count = process.read_into(memoryview(buffer))
    assert int(buffer[:count]) != os.getpgid(0)


@pytest.mark.parametrize("way", ["read", "write", "wait"])
def test_a_child_that_hangs_ends_with_its_owner(way: str) -> None:
    started = time.monotonic()
    with (
        pytest.raises(StopError),
        MediaProcess([PYTHON, "-c", "import time; time.sleep(60)"], stop_after(0.3), feeds=True, reads=True) as process,
    ):
        if way == "read":
            process.read_into(memoryview(bytearray(10)))
        elif way == "write":
            process.write(memoryview(bytes(8_000_000)))
        else:
            process.wait()
    assert time.monotonic() - started < 20  # the child sleeps for 60 s
    assert process._process.returncode is not None


def test_a_child_that_left_is_a_broken_pipe() -> None:
    with MediaProcess([PYTHON, "-c", "pass"], never_stop, feeds=True) as process, pytest.raises(BrokenPipeError):
        process.write(memoryview(bytes(8_000_000)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_was_killed_is_no_error_of_the_file(number: int) -> None:
    script = f"import os; os.kill(os.getpid(), {int(number)})"
    with MediaProcess([PYTHON, "-c", script], never_stop) as process, pytest.raises(ProcessKilledError):
        process.wait()
    with MediaProcess([PYTHON, "-c", script], never_stop, feeds=True) as process, pytest.raises(ProcessKilledError):
        raise process.failure(ErrorCode.ENCODE_FAILED, "It failed.")


def test_a_child_without_a_pipe_dies_with_its_owner(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    inner = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    outer = f"""
from worker.media.media_process import MediaProcess
with MediaProcess([{PYTHON!r}, '-c', {inner!r}, 'file:{note}'], lambda: None) as process:
    process.wait()
"""
    owner = subprocess.Popen([PYTHON, "-c", outer])
    wait_until(lambda: note.exists() and note.read_text(), 10)
    owner.kill()
    owner.wait(60)
    wait_until(lambda: is_gone(int(note.read_text())), 5)


def test_what_a_child_says_is_for_the_log_only() -> None:
    with MediaProcess(
        [PYTHON, "-c", "import sys; sys.exit('/secret/path: No space left on device')"], never_stop
    ) as process:
        assert process.wait() == 1
        error = process.failure(ErrorCode.ENCODE_FAILED, "It failed.")
    assert error.code == ErrorCode.STORAGE_FULL
    assert "/secret" not in error.message
