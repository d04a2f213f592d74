from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from worker.pipeline.heard_voices import COPIED_BYTES, HeardVoice, SoundPart, voice_warnings

SAID = "The voice holds no speech, so the lips stay closed."
SILENCE = np.zeros(1000, np.int16)
SPEECH = np.ones(1000, np.int16)
LATE = np.concatenate([np.zeros(2 * COPIED_BYTES, np.int16), SPEECH])


@pytest.mark.parametrize(
    ("voices", "is_whole_clip", "warnings"),
    [
        ([SILENCE], True, [SAID]),
        ([SPEECH], True, []),
        ([LATE], True, []),
        ([SPEECH, SILENCE, LATE], False, [f"segments[1]: {SAID}"]),
        ([SILENCE], False, [f"segments[0]: {SAID}"]),
    ],
)
def test_a_voice_without_speech_is_told(voices: Sequence[np.ndarray], is_whole_clip: bool, warnings: list[str]) -> None:
    heard = [HeardVoice(samples, SoundPart(0, len(samples))) for samples in voices]
    assert voice_warnings(heard, is_whole_clip) == warnings
