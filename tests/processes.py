"""Processes that a test looks at; any of them may end between two looks, which is never an error here."""

from __future__ import annotations

from contextlib import suppress

import psutil


def children_of(pid: int | None, recursive: bool = False) -> list[psutil.Process]:
    """Return the children of a process, the direct ones first; none if the process has ended.

    A child that has ended is still one until its parent waits for it (a zombie).
    """
    with suppress(psutil.NoSuchProcess):
        return [] if pid is None else psutil.Process(pid).children(recursive=recursive)
    return []


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, waited for by its parent or not."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def name_of(process: psutil.Process) -> str:
    """Return the name of a process, empty if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def command_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process, empty if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def resident_bytes(process: psutil.Process) -> int:
    """Return the memory that a process holds, 0 if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0
