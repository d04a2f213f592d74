"""Processes that die together with their parent, even when the parent is killed (Linux).

`python -m app.core.parent_death <parent pid> <command> ...` replaces itself by the command, which then dies when the
parent does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15


def die_with_parent(parent_pid: int) -> None:
    """Let the kernel kill this process when its parent ends; exits at once if the parent has already ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")
    if os.getppid() != parent_pid:
        os._exit(1)


def name_process(name: str) -> None:
    """Give this process a name in the list of processes; the kernel keeps its first 15 characters."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def tied_to_this_process(command: list[str]) -> list[str]:
    """Return the command line that runs a command as a child that dies together with this process."""
    return [sys.executable, "-m", "app.core.parent_death", str(os.getpid()), *command]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  an argument list, and this process shall become it
