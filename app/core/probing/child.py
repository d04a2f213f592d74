"""The probing child process: opens one untrusted file under hard limits (a `PythonProgram` of app.core.sandbox.forked).

Its argument is a request as JSON, `{"task", "path", "cpu_s", "limits", "sha256"}` with a task of TASKS, and the hash of
the file or null. It writes a line `ready` to standard output. Whatever ends the process before has to do with this
machine, not with the file. Then follows `{"facts": {...}}`, or `{"error": {"code", "message"}}` for a file that is
refused, or `{"broken": text}` where the machine could not do its part.
"""

from __future__ import annotations

import errno
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import av
import av.logging

from app.core.errors import ErrorCode, InputError
from app.core.probing.answer import DAMAGED, READY
from app.core.probing.audio import probe_audio
from app.core.probing.confine import MEMORY_BYTES, confine
from app.core.probing.limits import Limits
from app.core.probing.video import probe_changing_picture, probe_picture, probe_video

BLOCK_BYTES: Final = 1024 * 1024
# Errors of a disk, and of a process or machine that may open no more files.
MACHINE_ERRORS: Final = (errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ENOLCK, errno.EAGAIN, errno.ENOBUFS)
Probe = Callable[..., dict[str, Any]]  # of a path, limits, and the hash of the file if it is known
TASKS: Final[Mapping[str, Probe]] = {
    "video": probe_video,
    "audio": probe_audio,
    "picture": probe_picture,
    "changing_picture": probe_changing_picture,
}


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.argv[1])
    has_all_memory = confine(int(request["cpu_s"]))
    av.logging.set_level(None)
    sys.stdout.write(READY)
    sys.stdout.flush()
    json.dump(answer(request, has_all_memory), sys.stdout)


def answer(request: dict[str, Any], has_all_memory: bool, tasks: Mapping[str, Probe] = TASKS) -> dict[str, Any]:
    """Return the answer to a request; `has_all_memory`: this process may use MEMORY_BYTES."""
    unreadable = ErrorCode.AUDIO_UNREADABLE if request["task"] == "audio" else ErrorCode.VIDEO_UNREADABLE
    try:
        known = {"sha256": request["sha256"]} if request.get("sha256") else {}
        return {"facts": tasks[request["task"]](Path(request["path"]), Limits(**request["limits"]), **known)}
    except Exception as error:  # noqa: BLE001  a parser of damaged files may raise anything
        if _is_of_machine(error, Path(request["path"]), has_all_memory):
            return {"broken": f"{type(error).__name__}: {error}"}
        if isinstance(error, InputError):
            return {"error": {"code": str(error.code), "message": error.message}}
        if isinstance(error, MemoryError):
            message = f"The file needs more than {MEMORY_BYTES // 1024**3} GiB of memory to be read."
            return {"error": {"code": str(unreadable), "message": message}}
        traceback.print_exc()
        return {"error": {"code": str(unreadable), "message": DAMAGED}}


def _is_of_machine(error: BaseException | None, path: Path, has_all_memory: bool) -> bool:
    """Return whether an error, or one that caused it, comes from this machine rather than from the file.

    FFmpeg takes the numbers of the system for faults of a file too, so its errors need a proof.
    """
    while error is not None:
        number = getattr(error, "errno", None)
        if number in MACHINE_ERRORS and not (isinstance(error, av.FFmpegError) and _can_be_read(path)):
            return True
        if (isinstance(error, MemoryError) or number == errno.ENOMEM) and not has_all_memory:
            return True
        error = error.__cause__
    return False


def _can_be_read(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            while file.read(BLOCK_BYTES):
                pass
    except OSError:
        return False
    return True
