"""Probing of uploaded files: it finds their facts without opening them in this process.

Each probe is a child process (`app.core.probing.child`) with limits on time and memory. Whatever happens to the child,
the outcome here is the facts, or an InputError with a sentence for the client. If the child could not start or work for
a reason of this machine, or was killed from outside, the outcome is a ProbeBrokenError and a line in the log, since the
file may be good.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import imageio_ffmpeg
from pydantic import TypeAdapter

from app.core.errors import ErrorCode, InputError, ServiceError
from app.core.jobs import AudioFacts, VideoFacts
from app.core.picture_facts import PictureFacts as PictureFacts
from app.core.probing.answer import DAMAGED, READY
from app.core.probing.limits import Limits as Limits  # callers import it from here
from app.core.sandbox.confined import program_access
from app.core.sandbox.forked import PythonProgram, fork_server, run_forked

PROGRAM: Final = "app.core.probing.child"
TIMEOUT_S: Final = 30.0
PATIENCE: Final = 2.0  # seconds that a busy machine may take for each second of processor time
READ_BYTES_PER_S: Final = 40e6  # of a slow disk: large files get more time

_log = logging.getLogger("lipsync.probe")


class ProbeBrokenError(ServiceError):
    """Probe that broke for a reason of this machine, such as lack of memory; says nothing about the file."""

    def __init__(self) -> None:
        message = (
            "The file could not be checked, because this machine lacks memory, time or other means; try again shortly."
        )
        super().__init__(ErrorCode.OUT_OF_MEMORY, message, retry_after_s=10)


def probe_video(path: Path, limits: Limits, sha256: str | None = None) -> VideoFacts:
    """Return the facts of a video or still picture; raises InputError or ProbeBrokenError.

    sha256: of the file, from one who has read it anyway; reading it once more takes most of the time of a large file.
    """
    return VideoFacts.model_validate(_run_child("video", path, limits, ErrorCode.VIDEO_UNREADABLE, sha256))


def probe_audio(path: Path, limits: Limits, sha256: str | None = None) -> AudioFacts:
    """Return the facts of a file's sound; raises InputError or ProbeBrokenError. sha256: see `probe_video`."""
    return AudioFacts.model_validate(_run_child("audio", path, limits, ErrorCode.AUDIO_UNREADABLE, sha256))


def probe_picture(path: Path, limits: Limits, changes: bool = False) -> PictureFacts:
    """Return the decoding facts of a video that was accepted; raises InputError or ProbeBrokenError.

    changes: the size or shape of the picture changes (VideoFacts.picture_changes); the whole file is then read.
    """
    task = "changing_picture" if changes else "picture"
    return TypeAdapter(PictureFacts).validate_python(_run_child(task, path, limits, ErrorCode.VIDEO_UNREADABLE))


def get_ready() -> None:
    """Start what probes need, so that the first one is as fast as the others; raises OSError."""
    fork_server().load(PROGRAM)


def find_ffmpeg(setting: str | None) -> str:
    """Return the path of the ffmpeg program: the one in the setting, else the one in imageio-ffmpeg.

    Raises ServiceError if the setting names no program.
    """
    if setting is None:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    found = shutil.which(setting)
    if found is None:
        raise ServiceError(ErrorCode.ENCODE_FAILED, "LIPSYNC_FFMPEG names no program that can be run.")
    return found


def _run_child(
    task: str, path: Path, limits: Limits, unreadable: ErrorCode, sha256: str | None = None
) -> dict[str, Any]:
    timeout_s = TIMEOUT_S + _size_of(path, unreadable) / READ_BYTES_PER_S
    request = {
        "task": task,
        "path": str(path.resolve()),
        "cpu_s": int(timeout_s),
        "limits": asdict(limits),
        "sha256": sha256,
    }
    try:
        child = run_forked(
            PythonProgram(PROGRAM, (json.dumps(request),)),
            program_access([sys.executable], reads=[path.resolve()]),
            timeout_s=timeout_s * PATIENCE,
        )
    except subprocess.TimeoutExpired as error:  # its limit of processor time would have ended it before
        _log.error("probe too slow task=%s", task)
        raise ProbeBrokenError from error
    except OSError as error:  # no memory, no free descriptor, no further process
        _log.error("probe not started task=%s error=%s", task, error)
        raise ProbeBrokenError from error
    return facts_of(child, task, unreadable)


def _size_of(path: Path, unreadable: ErrorCode) -> int:
    """Return the size in bytes of the file; raises InputError for anything that is not a file that can be opened."""
    try:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise InputError(unreadable, "This is a folder, not a file.")
        if not stat.S_ISREG(facts.st_mode):  # a pipe or a device cannot be read twice, and may never end
            raise InputError(unreadable, "This is a pipe or a device, not a file.")
        with path.open("rb"):
            return facts.st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(unreadable, "There is no such file.") from error
    except PermissionError as error:
        raise InputError(unreadable, "The file may not be read by this user.") from error
    except ValueError as error:  # a name with a zero byte
        raise InputError(unreadable, "No file can have this name.") from error


def facts_of(child: subprocess.CompletedProcess[str], task: str, unreadable: ErrorCode) -> dict[str, Any]:
    """Return the facts that a child found; raises InputError or ProbeBrokenError."""
    told = (child.stderr.strip().splitlines() or [""])[-1][:300]
    # Its own limits end the child in other ways, so these two signals say nothing about the file.
    is_killed = child.returncode in (-signal.SIGKILL, -signal.SIGTERM)
    if is_killed or not child.stdout.startswith(READY):
        _log.error("probe broken task=%s status=%d error=%s", task, child.returncode, told)
        raise ProbeBrokenError
    if child.returncode == -signal.SIGXCPU:
        raise InputError(unreadable, "The file takes too long to be read.")
    if child.returncode != 0:
        _log.warning("probe crashed task=%s status=%d error=%s", task, child.returncode, told)
        raise InputError(unreadable, DAMAGED)
    answer = json.loads(child.stdout.removeprefix(READY))
    if told:
        _log.warning("probe told task=%s error=%s", task, told)
    if "broken" in answer:
        _log.error("probe broken task=%s error=%s", task, answer["broken"])
        raise ProbeBrokenError
    if "error" in answer:
        raise InputError(ErrorCode(answer["error"]["code"]), answer["error"]["message"])
    facts: dict[str, Any] = answer["facts"]
    return facts
