"""Facts of the machine and of the programs that were measured: figures of two machines cannot be compared without."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from app.core.errors import LipSyncError
from app.core.own_modules import ROOT
from app.core.probing.probe import find_ffmpeg
from app.core.version import service_version

# Instructions that decide how fast a network or an encoder runs.
FLAGS: Final = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "asimd")
PACKAGES: Final = ("torch", "openvino", "mediapipe", "ctranslate2", "av", "uvicorn", "redis")
PROGRAM_TIMEOUT_S: Final = 10


def machine_facts(ffmpeg_setting: str | None) -> dict[str, Any]:
    """Return processor, memory, versions, commit and date; null for what cannot be found out."""
    processor = _processor()
    return {
        "cpu": processor.get("model name") or platform.processor() or platform.machine(),
        "cpu_flags": [flag for flag in FLAGS if flag in processor.get("flags", processor.get("Features", "")).split()],
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "memory_bytes": psutil.virtual_memory().total,
        "versions": {
            "lipsync": service_version(),
            "python": platform.python_version(),
            "kernel": platform.release(),
            "ffmpeg": _ffmpeg_version(ffmpeg_setting),
            **{name: _package_version(name) for name in PACKAGES},
        },
        "commit": _first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> dict[str, str]:
    """Return what Linux says of the first core; empty elsewhere."""
    with suppress(OSError):
        first, *_ = Path("/proc/cpuinfo").read_text().split("\n\n")
        pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
        return {name.strip(): value.strip() for name, value in pairs}
    return {}


def _ffmpeg_version(setting: str | None) -> str | None:
    try:
        line = _first_line([find_ffmpeg(setting), "-version"])
    except LipSyncError:
        return None
    return None if line is None else line.removeprefix("ffmpeg version ").split(" ")[0]


def _package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.splitlines()), None)
