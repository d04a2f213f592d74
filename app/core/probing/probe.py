"""Probing of uploaded files: it finds their facts without opening them in this process.

Each probe is a child process (`app.core.probing.child`) with limits on time and memory. Whatever happens to the child,
the outcome here is the facts, or an InputError with a sentence for the client. If the child was killed from outside,
perhaps because the system had no memory left, the outcome is a ProbeKilledError, since the file may be good.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import imageio_ffmpeg

from app.core.errors import ErrorCode, InputError, ServiceError
from app.core.jobs import AudioFacts, VideoFacts
from app.core.probing.limits import Limits as Limits  # callers import it from here

TIMEOUT_S: Final = 30.0
READ_BYTES_PER_S: Final = 40e6  # of a slow disk: large files get more time
ROOT: Final = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class PictureFacts:
    """Facts that a decoder of the video needs beyond VideoFacts.

    start_pts: time of the first frame that is shown, in units of time_base seconds. may_be_interlaced: any frame may be
    flagged as interlaced. rgb: the codec stores RGB. matrix, primaries, transfer: colour tags as ITU-T H.273 numbers
    (2 = unspecified). stream: number of the video stream in the file. stored_width, stored_height: size of most frames
    as decoded, before cropping. pixel_aspect: width of their pixels divided by the height. aspects: times
    in seconds from the first frame from which on the pixels have other such values. pixel_format: format of the frames,
    in ffmpeg's names. crop: columns and rows not to be shown (left, right, top, bottom). turn: ffmpeg filters that then
    make the picture upright, "" if it is.
    """

    start_pts: int | None
    time_base: str
    may_be_interlaced: bool
    rgb: bool
    matrix: int
    primaries: int
    transfer: int
    stream: int = 0
    stored_width: int = 0
    stored_height: int = 0
    pixel_aspect: str = "1"
    aspects: tuple[tuple[float, str], ...] = ()
    pixel_format: str = "yuv420p"
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    turn: str = ""


class ProbeKilledError(ServiceError):
    """Probing process that was killed from outside, by a user or for lack of memory; says nothing about the file."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.OUT_OF_MEMORY, "The check of the file was ended from outside.")


def probe_video(path: Path, limits: Limits) -> VideoFacts:
    """Return the facts of a video or still picture; raises InputError or ProbeKilledError."""
    return VideoFacts.model_validate(_run_child("video", path, limits, ErrorCode.VIDEO_UNREADABLE))


def probe_audio(path: Path, limits: Limits) -> AudioFacts:
    """Return the facts of a file's sound; raises InputError or ProbeKilledError."""
    return AudioFacts.model_validate(_run_child("audio", path, limits, ErrorCode.AUDIO_UNREADABLE))


def probe_picture(path: Path, limits: Limits, changes: bool = False) -> PictureFacts:
    """Return the decoding facts of a video that was accepted; raises InputError or ProbeKilledError.

    changes: the size or shape of the picture changes (VideoFacts.picture_changes); the whole file is then read.
    """
    task = "changing_picture" if changes else "picture"
    facts = _run_child(task, path, limits, ErrorCode.VIDEO_UNREADABLE)
    facts["crop"] = tuple(facts["crop"])
    facts["aspects"] = tuple((start_s, aspect) for start_s, aspect in facts["aspects"])
    return PictureFacts(**{name: facts[name] for name in PictureFacts.__dataclass_fields__})


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


def _run_child(task: str, path: Path, limits: Limits, unreadable: ErrorCode) -> dict[str, Any]:
    timeout_s = TIMEOUT_S + path.stat().st_size / READ_BYTES_PER_S
    request = {
        "task": task,
        "path": str(path.resolve()),
        "cpu_s": int(timeout_s) + 1,
        "limits": asdict(limits),
    }
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    try:
        child = subprocess.run(
            [sys.executable, "-m", "app.core.probing.child"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            process_group=0,  # so that Ctrl-C reaches only the parent
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(unreadable, "The file takes too long to be read.") from error
    if child.returncode in (-signal.SIGKILL, -signal.SIGTERM):
        # The limits of the child end it otherwise, so this says nothing about the file.
        raise ProbeKilledError
    if child.returncode != 0:
        raise InputError(unreadable, "The file cannot be read within the limits on memory and time.")
    answer = json.loads(child.stdout)
    if "error" in answer:
        raise InputError(ErrorCode(answer["error"]["code"]), answer["error"]["message"])
    facts: dict[str, Any] = answer["facts"]
    return facts
