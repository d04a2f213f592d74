"""Limits of a child process that opens an untrusted file; a module of its own, so that a decoder loads nothing else."""

from __future__ import annotations

import resource
from typing import Final

MEMORY_BYTES: Final = 3 * 1024**3


def confine(cpu_s: int) -> bool:
    """Limit memory and CPU time of this process, and forbid it to write files.

    Return whether it may use MEMORY_BYTES; not, if this machine allows its processes less.
    """
    allowed = resource.getrlimit(resource.RLIMIT_AS)[1]
    memory = MEMORY_BYTES if allowed == resource.RLIM_INFINITY else min(MEMORY_BYTES, allowed)
    limits = {
        resource.RLIMIT_AS: (memory, memory),
        # At the first limit the kernel sends SIGXCPU, at the second SIGKILL. With equal limits it would send SIGKILL at
        # once, and the parent could not tell this from a kill for lack of memory.
        resource.RLIMIT_CPU: (cpu_s, cpu_s + 1),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, value in limits.items():
        resource.setrlimit(kind, value)
    return memory == MEMORY_BYTES
