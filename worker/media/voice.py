"""Decode the voice to what the network needs: 16 kHz mono 16 bit in a file, read through a memory map.

The samples begin at time zero of the sound's facts (AudioFacts.start_s), so a voice that begins later comes after
silence.
"""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import Final

import numpy as np

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError
from app.core.jobs import AudioFacts
from model.arrays import I16
from model.audio import SAMPLE_RATE_HZ
from worker.media.media_process import MediaProcess
from worker.media.sound_program import SoundRequest

MIN_VOICE_S: Final = 0.1
VOICE_FILE: Final = "voice.s16"
BUFFER_BYTES: Final = 1024 * 1024


def read_voice(
    path: Path,
    facts: AudioFacts,
    work_dir: Path,
    check: Check,
    begin_s: float | None = None,
    longest_s: float = math.inf,
) -> I16:
    """Decode the voice into work_dir; return its samples (n,) int16 at 16 kHz as a memory map; raises InputError.

    begin_s: silence before the first sample of the sound in seconds; if negative, so much of it is left out; None: as
    its facts say, and nothing is left out. longest_s: the voice is cut off there.
    """
    begin_s = max(0.0, facts.start_s) if begin_s is None else begin_s
    end_s = min(longest_s, begin_s + facts.duration_s - max(0.0, facts.start_s))
    request = SoundRequest.of(
        path, facts, rate_hz=SAMPLE_RATE_HZ, channels=1, begin_s=begin_s, end_s=end_s, is_heard=True
    )
    raw, buffer = work_dir / VOICE_FILE, memoryview(mmap.mmap(-1, BUFFER_BYTES))
    with MediaProcess(request.to_program(), check, reads=True, opens=[path]) as process:
        with raw.open("wb") as file:  # not a memory map: a full disk then raises an error instead of SIGBUS
            while filled := process.read_into(buffer):
                file.write(buffer[:filled])
        if process.wait() != 0:
            error = process.failure(ErrorCode.AUDIO_UNREADABLE, "The sound cannot be decoded.")
            raise InputError(error.code, error.message)
    count = raw.stat().st_size // 2
    if count < MIN_VOICE_S * SAMPLE_RATE_HZ:
        message = f"The sound lasts {count / SAMPLE_RATE_HZ:.3f} s; at least {MIN_VOICE_S:g} s are needed."
        raise InputError(ErrorCode.AUDIO_TOO_SHORT, message)
    return np.memmap(raw, np.int16, "r", shape=(count,))
