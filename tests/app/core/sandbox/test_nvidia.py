"""What a confined child with the devices of a GPU can and cannot do; another device plays the GPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from app.core.sandbox.confined import child_environment, program_access, run_confined, try_confinement
from app.core.sandbox.landlock import FileAccess
from app.core.sandbox.nvidia import gpu_devices, with_gpu
from tests.app.core.sandbox import attempts

ACTIVE = try_confinement()
DEVICE = Path("/dev/full")
NAMES_A_THREAD = "os.write(os.open(f'/proc/self/task/{threading.get_native_id()}/comm', os.O_RDWR), b'named')"
LISTENS = "[made.bind(chr(0) + f'test-{os.getpid()}') or made.listen(4) for made in [socket.socket(socket.AF_UNIX, 5)]]"
CAN = {
    "use the device": "os.open('/dev/full', os.O_RDWR)",
    "name its threads": NAMES_A_THREAD,
    "see its own memory": "open('/proc/self/maps').read()",
    "listen where nobody can connect": LISTENS,
}
CANNOT_CALL = {
    "a socket": "socket.socket()",
    "a local socket without connections": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "a connection": "socket.socket(socket.AF_UNIX).connect(chr(0) + 'name')",
    "taking a connection": "socket.socket(socket.AF_UNIX).accept()",
}
CANNOT_OPEN = {
    "a socket with a name": "socket.socket(socket.AF_UNIX).bind(own + '.socket')",
    "another device": "os.open('/dev/tty', os.O_RDWR)",
    "another file": "open(other).read()",
    "what its parent was started with": "open(f'/proc/{parent}/cmdline').read()",
    "the environment of its parent": "open(f'/proc/{parent}/environ').read()",
    "a shell": "subprocess.run(['/bin/sh', '-c', 'true'])",
}


def attempt(folder: Path, what: str) -> str:
    """Attempt something in a confined child with a device; return `done`, or the error."""
    own, other = folder / "own", folder / "other"
    for path in (own, other):
        path.write_text(path.name)
    access = with_gpu(program_access([sys.executable], reads=[own]), [DEVICE])
    command = [sys.executable, "-m", attempts.__name__, what, str(own), str(other), str(os.getpid())]
    child = run_confined(command, access, timeout_s=60, environment=child_environment())
    assert child.stdout, child.stderr
    return child.stdout.split()[-1]


@pytest.mark.parametrize("what", CAN)
def test_a_child_with_a_gpu_can(tmp_path, what):
    assert attempt(tmp_path, CAN[what]) == "done"


@pytest.mark.skipif(not ACTIVE.system_calls, reason="this machine has no seccomp filter")
@pytest.mark.parametrize("what", CANNOT_CALL)
def test_a_gpu_opens_no_way_to_the_network(tmp_path, what):
    assert attempt(tmp_path, CANNOT_CALL[what]) == "PermissionError"


@pytest.mark.skipif(not ACTIVE.files, reason="this kernel has no Landlock")
@pytest.mark.parametrize("what", CANNOT_OPEN)
def test_a_gpu_opens_no_way_to_other_files(tmp_path, what):
    assert attempt(tmp_path, CANNOT_OPEN[what]) == "PermissionError"


def test_without_a_gpu_a_child_gets_nothing_more():
    access = program_access([sys.executable])
    assert with_gpu(access, ()) is access


def test_the_nodes_of_the_driver_are_found(tmp_path):
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "nvme0", "null"):
        (tmp_path / name).touch()
    assert [path.name for path in gpu_devices(tmp_path)] == ["nvidia-uvm", "nvidia0", "nvidiactl"]


def test_an_access_travels_to_the_child_whole(tmp_path):
    paths = (Path("/a b"), Path(os.fsdecode(b"/\xff\xfe")), Path('/"'))
    access = FileAccess(paths, paths[:1], paths[1:], (), (DEVICE,))
    assert FileAccess.of_json(access.to_json()) == access
