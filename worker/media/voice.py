"""Decode the voice to what the network needs: 16 kHz mono 16 bit in a file, read through a memory map.

The sound starts at its own first sample, or at the moment when the video track of the same file starts. Gaps in its
timestamps become silence, and samples beyond full scale are clipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError
from app.core.jobs import AudioFacts
from model.arrays import I16
from model.audio import SAMPLE_RATE_HZ
from worker.media.ffmpeg_command import FROM_ZERO, audio_input, ffmpeg_arguments, file_address
from worker.media.media_process import MediaProcess

MIN_VOICE_S: Final = 0.1
VOICE_FILE: Final = "voice.s16"
SLACK_S: Final = 60.0  # how much longer than probed the sound may be; the rest is not decoded
FROM_PICTURE: Final = "asetpts=PTS-({start_s:.6f}/TB),aresample={rate}:async=1:first_pts=0,atrim=end={length_s:.3f}"


def read_voice(
    path: Path, facts: AudioFacts, work_dir: Path, ffmpeg_path: str, check: Check, picture_start_s: float | None = None
) -> I16:
    """Decode the voice into work_dir; return its samples (n,) int16 at 16 kHz as a memory map; raises InputError.

    picture_start_s: time in the file at which its video track starts, and at which the samples shall start; None: the
    samples start at the first sample of the sound.
    """
    raw = work_dir / VOICE_FILE
    length_s = facts.duration_s + SLACK_S
    output = {"format": "s16le", "map": "0:a:0", "ac": 1, "ar": SAMPLE_RATE_HZ}
    options = ["-y"]
    if picture_start_s is None:
        output |= {"af": FROM_ZERO.format(rate=SAMPLE_RATE_HZ), "t": length_s}
    else:
        output["af"] = FROM_PICTURE.format(start_s=picture_start_s, rate=SAMPLE_RATE_HZ, length_s=length_s)
        options.append("-copyts")  # keep the file's own times: ffmpeg would count from the first packet of any stream
    stream = audio_input(path, facts).output(file_address(raw), **output)
    with MediaProcess(ffmpeg_arguments(stream, ffmpeg_path, *options), check) as process:
        status = process.wait()
        count = raw.stat().st_size // 2 if raw.exists() else 0
        error = process.failure(ErrorCode.AUDIO_UNREADABLE, "The sound cannot be decoded.") if status != 0 else None
    if error is not None and error.code == ErrorCode.STORAGE_FULL:
        raise error
    if error is not None and count < MIN_VOICE_S * SAMPLE_RATE_HZ:  # of a damaged file, the readable part is used
        raise InputError(error.code, error.message)
    if count < MIN_VOICE_S * SAMPLE_RATE_HZ:
        message = f"The sound lasts {count / SAMPLE_RATE_HZ:.3f} s; at least {MIN_VOICE_S:g} s are needed."
        raise InputError(ErrorCode.AUDIO_TOO_SHORT, message)
    return np.memmap(raw, np.int16, "r", shape=(count,))
