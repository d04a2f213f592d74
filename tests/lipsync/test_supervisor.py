from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from app.core.private_redis import find_redis_server
from lipsync.supervisor import SupervisedProcess, free_port
from tests.conftest import ROOT
from tests.service import wait_until


def test_a_redis_server_is_found():
    assert os.access(find_redis_server(), os.X_OK)


def test_a_free_port_can_be_bound():
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port("127.0.0.1")))


def test_a_child_that_dies_is_started_again_more_slowly():
    child = SupervisedProcess("dies", [sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))
    child.start()
    statuses: list[tuple[int, float]] = []
    started_at = time.monotonic()
    while len(statuses) < 3 and time.monotonic() - started_at < 120:
        status = child.restart_if_dead()
        if status is not None:
            statuses.append((status, time.monotonic()))
        time.sleep(0.01)
    child.end(time.monotonic())
    gaps = [later[1] - earlier[1] for earlier, later in pairwise(statuses)]
    assert [status for status, _ in statuses] == [3, 3, 3] and gaps[0] > 0.4 and gaps[1] > 0.9


def test_a_child_is_ended_with_all_it_started():
    code = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    child = SupervisedProcess("parent", [sys.executable, "-c", code], dict(os.environ))
    child.start()
    assert child.pid is not None
    group = child.pid
    wait_until(lambda: len(members(group)) == 2, 10)
    child.ask_to_end()
    child.end(time.monotonic() + 5)
    wait_until(lambda: members(group) == [], 5)


def members(group):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgid = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(pgid) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_tied_process_dies_with_its_parent():
    code = (
        "import subprocess, time; from app.core.parent_death import tied_to_this_process; "
        "print(subprocess.Popen(tied_to_this_process(['sleep', '60'])).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep"), 5)
    parent.send_signal(signal.SIGKILL)
    parent.wait(60)
    parent.stdout.close()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or is_dead(pid), 5)


def is_dead(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


WRONG_STARTS = [
    (["api"], {}, "LIPSYNC_REDIS_URL is not set"),
    (["worker"], {}, "LIPSYNC_REDIS_URL is not set"),
    (["api"], {"LIPSYNC_PROT": "1"}, "unknown setting LIPSYNC_PROT"),
    (["serve"], {"LIPSYNC_PORT": "x"}, "LIPSYNC_PORT"),
    (["status", "0" * 32], {"LIPSYNC_URL": "http://127.0.0.1:9"}, "No answer"),
]


@pytest.mark.parametrize(("arguments", "environment", "said"), WRONG_STARTS)
def test_a_wrong_start_is_one_line_and_status_2(arguments, environment, said, tmp_path):
    clean = {name: text for name, text in os.environ.items() if not name.startswith("LIPSYNC_")}
    environment = clean | {"PYTHONPATH": str(ROOT), "LIPSYNC_DATA_DIR": str(tmp_path)} | environment
    done = subprocess.run(
        [sys.executable, "-m", "lipsync", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1
