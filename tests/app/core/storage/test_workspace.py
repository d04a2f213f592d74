from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.core.errors import CapacityError
from app.core.storage.workspace import Workspace
from tests.conftest import ROOT
from tests.service import wait_until

ID = "0123456789abcdef" * 2


@pytest.fixture
def workspace(tmp_path):
    space = Workspace(tmp_path / "data", reserve_bytes=0)
    space.prepare()
    return space


def uses(space):
    return [space.incoming, lambda job_id: space.work_folder(job_id, 1), space.inputs]


@pytest.mark.parametrize("job_id", ["", "..", "../" + ID, ID + "/..", ID.upper(), ID + "\n", "a" * 31])
def test_only_an_id_names_a_folder(workspace, job_id):
    for use in uses(workspace):
        with pytest.raises(ValueError, match="id"), use(job_id):
            pass


def test_folders_are_private_and_go_when_their_use_ends(workspace):
    for use in uses(workspace):
        with use(ID) as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
        assert not folder.exists()
    with pytest.raises(RuntimeError), workspace.work_folder(ID, 1) as folder:
        (folder / "part").write_bytes(b"x")
        raise RuntimeError
    assert not folder.exists()


def test_attempts_never_share_a_folder(workspace):
    with workspace.work_folder(ID, 1) as first, workspace.work_folder(ID, 1) as second:
        assert first != second


def test_inputs_are_shared_and_stay_for_a_while(workspace):
    with workspace.inputs(ID) as first, workspace.inputs(ID) as second:
        assert first == second
        (first / "video").write_bytes(b"x")
    with workspace.inputs(ID) as again:
        assert (again / "video").read_bytes() == b"x"
    assert workspace.sweep() == 0 and again.exists()
    assert workspace.sweep(idle_s=-1) == 1 and not again.exists()


def test_an_empty_inputs_folder_stays_while_another_uses_it(workspace):
    with workspace.inputs(ID) as first:
        with workspace.inputs(ID):
            pass
        assert first.exists()
    assert not first.exists()


def test_the_sweep_takes_nothing_that_is_in_use(workspace):
    with workspace.incoming(ID) as incoming, workspace.work_folder(ID, 2) as work, workspace.inputs(ID) as inputs:
        for folder in (incoming, work, inputs):
            os.utime(folder, (1, 1))
        assert workspace.sweep() == 0
        assert incoming.exists() and work.exists() and inputs.exists()


def test_what_a_killed_process_leaves_is_swept(workspace, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from app.core.storage.workspace import Workspace\n"
        f"with Workspace(Path(sys.argv[1])).work_folder('{ID}', 1):\n  time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data")], cwd=ROOT)
    try:
        (folder,) = wait_until(lambda: list((tmp_path / "data" / "work").glob("*")), 10)
        wait_until(lambda: is_locked(folder), 10)
        assert workspace.sweep(idle_s=-1) == 0
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert workspace.sweep(idle_s=-1) == 1 and not folder.exists()


def is_locked(folder):
    inode = str(folder.stat().st_ino)
    with Path("/proc/locks").open(encoding="ascii") as locks:
        return any(line.split()[5].split(":")[-1] == inode for line in locks)


def test_use_and_sweep_at_the_same_time(workspace):
    done = threading.Event()

    def sweep():
        while not done.is_set():
            workspace.sweep(idle_s=-1)

    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    try:
        for number in range(300):
            with workspace.inputs(ID) as folder:
                (folder / "video").write_bytes(bytes([number % 256]))
                assert (folder / "video").read_bytes() == bytes([number % 256])
    finally:
        done.set()
        sweeping.join()


def test_space(workspace, tmp_path):
    workspace.check_space(1000)
    with pytest.raises(CapacityError, match="storage_full"):
        workspace.check_space(10**18)
    assert workspace.free_bytes() > 0
    with pytest.raises(CapacityError, match="storage_full"):
        Workspace(tmp_path, reserve_bytes=10**18).check_space(0)
