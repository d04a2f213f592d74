"""A flame graph of this process, by py-spy: all threads, sampled from outside, so that the process runs as usual.

py-spy reads the memory of the process that it profiles. It is a child of that process here, so the process allows it by
name where the kernel asks for that (Yama).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.core.errors import ErrorCode, InputError, ServiceError

FORMATS: Final[Mapping[str, str]] = {".svg": "flamegraph", ".json": "speedscope"}
SAMPLES_PER_S: Final = 100
READY: Final = "Sampling process"
END_TIMEOUT_S: Final = 120
_PR_SET_PTRACER: Final = 0x59616D61  # linux/prctl.h


def find_profiler() -> str:
    """Return the path of py-spy; raises InputError if it is not installed."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        message = "--profile needs py-spy, which is in the extra `bench`."
        raise InputError(ErrorCode.OPTION_INVALID, message)
    return found


def check_profile(path: Path) -> None:
    """Raise InputError if no profile can be written to a file of this name."""
    if path.suffix not in FORMATS:
        message = f"--profile: a flame graph ends with .svg, a profile for speedscope with .json, not {path.name}."
        raise InputError(ErrorCode.OPTION_INVALID, message)
    find_profiler()


@contextmanager
def profiled(path: Path | None) -> Iterator[None]:
    """Profile the `with` block into a file; do nothing without a path. Raises ServiceError if that is not allowed."""
    if path is None:
        yield
        return
    words = ["record", "--pid", str(os.getpid()), "--rate", str(SAMPLES_PER_S), "--threads"]
    command = [find_profiler(), *words, "--format", FORMATS[path.suffix], "--output", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as profiler:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, profiler.pid, 0, 0, 0)
        try:
            _wait_until_ready(profiler)
            yield
        finally:
            profiler.send_signal(signal.SIGINT)  # it writes what it has
            told = profiler.communicate(timeout=END_TIMEOUT_S)[0]
    if not path.exists():
        raise ServiceError(ErrorCode.INTERNAL, f"py-spy wrote no profile: {told.strip()[-300:]}")


def _wait_until_ready(profiler: subprocess.Popen[str]) -> None:
    told = ""
    for line in profiler.stdout or ():
        told += line
        if READY in line:
            return
    raise ServiceError(ErrorCode.INTERNAL, f"py-spy may not look into this process: {told.strip()[-300:]}")
