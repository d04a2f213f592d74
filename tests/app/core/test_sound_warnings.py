from __future__ import annotations

import pytest

from app.core.jobs import JobInput, JobOptions
from app.core.sound_warnings import sound_warnings
from tests.service import AUDIO, VIDEO


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"tracks": 2}, "2 audio tracks; used is track 1, the first one"),
        (
            {"tracks": 2, "track": 1, "track_choice": "default"},
            "track 2, which its marks in the file make players prefer",
        ),
        ({"tracks": 3, "track": 2, "track_choice": "readable"}, "track 3, because no track"),
        ({"start_s": 2.0}, "begins 2.00 s after the start of its file"),
        ({"start_s": 0.05}, None),
        ({"start_s": -0.5}, None),
        ({"start_s": -0.5, "sha256": VIDEO.sha256}, "first 0.50 s of the voice lie before the first picture"),
        ({"is_joined": True}, "joined of several recordings"),
        ({"damaged_s": 0.5}, "0.50 s of it cannot be decoded"),
        ({"damaged_s": 0.03}, None),
        ({"missing_s": 2.0}, "its last 2.00 s are not in the file"),
    ],
)
def test_what_was_done_with_a_sound_is_told(changes: dict[str, object], words: str | None) -> None:
    voice = AUDIO.model_copy(update=changes)
    warnings = sound_warnings(JobInput(video=VIDEO, audio=voice), JobOptions())
    assert len(warnings) == (words is not None)
    assert words is None or words in warnings[0]


def test_the_sound_of_the_output_is_told_apart() -> None:
    mix = AUDIO.model_copy(update={"is_joined": True})
    (warning,) = sound_warnings(JobInput(video=VIDEO, audio=AUDIO, audio_mix=mix), JobOptions())
    assert "audio_mix" in warning
