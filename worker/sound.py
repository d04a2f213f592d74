"""Bring the voice to what the network hears: 16 kHz mono 16 bit in a file, read through a memory map.

Sound starts at its own first sample, gaps in its timestamps become silence, and what is beyond full scale is clipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import ffmpeg
import numpy as np
import numpy.typing as npt

from app.core.errors import ErrorCode, InputError
from app.core.jobs import AudioFacts
from model.audio import SAMPLE_RATE_HZ
from worker.child import Check, Child

MIN_VOICE_S: Final = 0.1
SLACK_S: Final = 60.0  # how much longer than probed the sound may turn out; more is not decoded
FROM_ZERO: Final = "asetpts=PTS-STARTPTS,aresample={rate}:async=1:first_pts=0"


def audio_input(path: Path, facts: AudioFacts) -> Any:
    """Return the ffmpeg input of a sound file, its format forced and no protocol but the file's own open."""
    return ffmpeg.input(f"file:{path}", f=facts.format, protocol_whitelist="file")


def read_voice(path: Path, facts: AudioFacts, work_dir: Path, ffmpeg_path: str, check: Check) -> npt.NDArray[np.int16]:
    """Decode the voice into work_dir; return its samples (n,) int16 at 16 kHz as a memory map; raises InputError."""
    raw = work_dir / "voice.s16"
    stream = audio_input(path, facts).output(
        str(raw),
        format="s16le",
        map="0:a:0",
        af=FROM_ZERO.format(rate=SAMPLE_RATE_HZ),
        ac=1,
        ar=SAMPLE_RATE_HZ,
        t=facts.duration_s + SLACK_S,
    )
    words = stream.global_args("-nostdin", "-y", "-v", "error").compile(cmd=ffmpeg_path)
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
