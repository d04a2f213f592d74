"""Bring the voice to what the network hears: 16 kHz mono 16 bit in a file, read through a memory map.

Sound starts at its own first sample, or where the picture of its own file starts; gaps in its timestamps become
silence, and what is beyond full scale is clipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import ffmpeg
import numpy as np

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError
from app.core.jobs import AudioFacts
from model.arrays import I16
from model.audio import SAMPLE_RATE_HZ
from worker.media.ffmpeg_process import Child

MIN_VOICE_S: Final = 0.1
VOICE_FILE: Final = "voice.s16"
SLACK_S: Final = 60.0  # how much longer than probed the sound may turn out; more is not decoded
FROM_ZERO: Final = "asetpts=PTS-STARTPTS,aresample={rate}:async=1:first_pts=0"
FROM_PICTURE: Final = "asetpts=PTS-({start_s:.6f}/TB),aresample={rate}:async=1:first_pts=0,atrim=end={length_s:.3f}"


def audio_input(path: Path, facts: AudioFacts) -> Any:
    """Return the ffmpeg input of a sound file, its format forced and no protocol but the file's own open."""
    return ffmpeg.input(f"file:{path}", f=facts.format, protocol_whitelist="file")


def read_voice(
    path: Path, facts: AudioFacts, work_dir: Path, ffmpeg_path: str, check: Check, picture_start_s: float | None = None
) -> I16:
    """Decode the voice into work_dir; return its samples (n,) int16 at 16 kHz as a memory map; raises InputError.

    picture_start_s: time in the file at which its picture starts, and then the samples; None: at the first sample.
    """
    raw = work_dir / VOICE_FILE
    length_s = facts.duration_s + SLACK_S
    output = {"format": "s16le", "map": "0:a:0", "ac": 1, "ar": SAMPLE_RATE_HZ}
    if picture_start_s is None:
        output |= {"af": FROM_ZERO.format(rate=SAMPLE_RATE_HZ), "t": length_s}
        more = []
    else:
        output["af"] = FROM_PICTURE.format(start_s=picture_start_s, rate=SAMPLE_RATE_HZ, length_s=length_s)
        more = ["-copyts"]  # the file's own times: ffmpeg would count from the first packet of any stream
    stream = audio_input(path, facts).output(str(raw), **output).global_args("-nostdin", "-y", "-v", "error", *more)
    words = stream.compile(cmd=ffmpeg_path)
    with Child([str(word) for word in words], check) as child:
        status = child.wait()
        count = raw.stat().st_size // 2 if raw.exists() else 0
        error = child.failure(ErrorCode.AUDIO_UNREADABLE, "The sound cannot be decoded.") if status != 0 else None
    if error is not None and error.code == ErrorCode.STORAGE_FULL:
        raise error
    if error is not None and count < MIN_VOICE_S * SAMPLE_RATE_HZ:  # what is there of a damaged file is used
        raise InputError(error.code, error.message)
    if count < MIN_VOICE_S * SAMPLE_RATE_HZ:
        message = f"The sound lasts {count / SAMPLE_RATE_HZ:.3f} s; at least {MIN_VOICE_S:g} s are needed."
        raise InputError(ErrorCode.AUDIO_TOO_SHORT, message)
    return np.memmap(raw, np.int16, "r", shape=(count,))
