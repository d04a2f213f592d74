"""The share of a machine that one worker process takes: its cores, its memory, and the turns of its threads.

While a clip is rendered, ffmpeg decodes and encodes in processes of its own, and faces are tracked, cropped, drawn and
blended in threads. All of them want the same cores at the same time. So the networks get half of the cores, each
ffmpeg at most as many threads as there are cores, OpenCV and mediapipe compute on the thread that calls them, and idle
threads of OpenMP sleep (`lipsync.__main__`). Where several worker processes run, the cores are divided among them.

Several worker processes may share one GPU; with `LIPSYNC_DEVICE=auto` all of them use the first one. Each has a CUDA
context of its own, which takes some hundred MB, and so has each ffmpeg that decodes or encodes on the GPU. The network
itself takes little. Where memory runs out, a process halves its batches and keeps them so. The GPU's time is shared by
turns; NVIDIA's MPS lets networks compute at once, but the video codecs cannot use it, because their confined processes
connect to nothing. Consumer GPUs also bound how many videos are encoded at once; a job beyond that is encoded in
software.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

from app.core.settings import Settings

TURN_S: Final = 0.0005  # a stage that needs Python's global lock for a moment must not wait for others: usual are 5 ms
# Options of glibc's mallopt (malloc.h), with their values. Frames and the network's layers come and go by the megabyte.
# glibc would keep them apart for each thread, and give them back to the system, which has to clear them each time.
KEPT_MEMORY: Final = {
    -8: 1,  # M_ARENA_MAX: threads share one pool of memory
    -3: 32 * 1024**2,  # M_MMAP_THRESHOLD: larger blocks are given back at once; no larger threshold is possible
    -1: 64 * 1024**2,  # M_TRIM_THRESHOLD: most bytes of free memory that are kept at the end of the pool
}


def usable_cores() -> int:
    """Return the number of cores that this process may use, limited by the quota of its container."""
    cores = len(os.sched_getaffinity(0))
    quota = Path("/sys/fs/cgroup/cpu.max")
    fields = quota.read_text(encoding="ascii").split() if quota.exists() else []
    if len(fields) == 2 and fields[0].isdigit():
        cores = min(cores, max(1, round(int(fields[0]) / int(fields[1]))))
    return cores


def cores_of(settings: Settings) -> int:
    """Return the cores of one worker process: its part of the usable ones."""
    return max(1, usable_cores() // settings.workers)


def network_threads(settings: Settings) -> int:
    """Return how many threads compute a network in one worker process: half of its cores, at least one.

    With a second one, the speech encoder would take twice the processor time on two cores, most of it for waiting.
    """
    return max(1, cores_of(settings) // 2)


def settle_process() -> None:
    """Set this process up for threads that share memory and take turns; elsewhere than on glibc, memory is left out."""
    sys.setswitchinterval(TURN_S)
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is not None:
        for option, value in KEPT_MEMORY.items():
            change(option, value)
