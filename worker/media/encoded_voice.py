"""Run the speech encoder over a voice, once for a clip, and keep the features in a file, read through a memory map."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from app.core.checks import Check
from model.arrays import I16, release_pages
from model.sound import EncodedSound
from model.speech_encoder.port import FEATURES, SpeechEncoder, feature_count

FEATURES_FILE: Final = "features.f16"


def encode_voice(encoder: SpeechEncoder, voice: I16, work_dir: Path, check: Check) -> EncodedSound:
    """Write the features of a voice (n,) int16 into work_dir, 38 kB a second; `check` may raise between two parts."""
    path = work_dir / FEATURES_FILE
    with path.open("wb") as file:  # not a memory map: a full disk then raises an error instead of SIGBUS
        for part in encoder.encode(voice):
            file.write(part.astype("<f2").tobytes())
            release_pages(voice)
            check()
    return EncodedSound(np.memmap(path, np.float16, "r", shape=(feature_count(len(voice)), FEATURES)))
