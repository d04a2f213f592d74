"""What a process and all that it started cost: processor time, memory, bytes moved by the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def tree_cpu_s(pid: int) -> float:
    """Return the processor seconds of a process, of its live descendants, and of those that they have waited for."""
    total = 0.0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # the process has ended or is about to end
        return total
    return total


def tree_rss_bytes(pid: int) -> int:
    """Return the resident memory of a process and all that it started, in bytes; shared pages are counted once.

    Between its fork and its exec a child shares all pages of its parent. If shared pages counted twice, a long
    measurement would sometimes sample that moment and report a false peak.
    """
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # the process has ended or is about to end
        return total
    return total


def moved_bytes() -> int:
    """Return how many bytes this process has read and written, through pipes and files alike."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{os.getpid()}/io").read_text().splitlines())
    return int(fields["rchar"]) + int(fields["wchar"])
