from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.checks import never_stop
from app.core.errors import ServiceError
from app.core.locks import locked, sole_use
from tests.conftest import ROOT


def test_a_data_folder_serves_one(tmp_path):
    with sole_use(tmp_path / "data"), pytest.raises(ServiceError, match="Another"), sole_use(tmp_path / "data"):
        pass
    with sole_use(tmp_path / "data"):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from app.core.locks import sole_use\n"
        "with sole_use(Path(sys.argv[1])):\n  print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(ServiceError), sole_use(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with sole_use(tmp_path):
        pass


def test_one_thread_at_a_time(tmp_path):
    inside, most = [], []

    def use():
        with locked(tmp_path / "lock", never_stop):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1] * 8


def test_a_check_that_raises_ends_the_waiting(tmp_path):
    def stop():
        raise InterruptedError

    errors, is_held, may_end = [], threading.Event(), threading.Event()

    def hold():
        with locked(tmp_path / "lock", never_stop):
            is_held.set()
            may_end.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(10)
    with pytest.raises(InterruptedError), locked(tmp_path / "lock", stop):
        errors.append("inside")
    may_end.set()
    holder.join(10)
    with locked(tmp_path / "lock", stop):
        pass
    assert errors == []


def test_a_short_use_is_waited_for(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        with sole_use(tmp_path):
            held = pool.submit(_use, tmp_path)
            with pytest.raises(TimeoutError):
                held.result(0.3)
        assert held.result(20) == "used"


def _use(folder):
    with sole_use(folder, 20):
        return "used"
