from __future__ import annotations

from pathlib import Path

import pytest

from app.core.jobs import JobInput
from tests.service import AUDIO, VIDEO
from worker.pipeline.run_context import Sources


@pytest.mark.parametrize(
    ("start_s", "is_of_film", "begin_s"),
    [
        (0.0, False, 0.0),
        (2.0, False, 2.0),
        (-0.5, False, 0.0),
        (2.0, True, 2.0),
        (-0.5, True, -0.5),
        (-100.0, True, 0.0),  # all of it lies before the first picture
    ],
)
def test_a_film_and_its_own_sound_stay_together(start_s: float, is_of_film: bool, begin_s: float) -> None:
    sha256 = VIDEO.sha256 if is_of_film else "f" * 64
    facts = AUDIO.model_copy(update={"start_s": start_s, "sha256": sha256})
    sources = Sources(Path("v"), Path("a"), Path("m"), JobInput(video=VIDEO, audio=facts, audio_mix=AUDIO))
    (voice,) = sources.played_voices
    assert voice.begin_s == begin_s
    assert sources.mix is not None and (sources.mix.path, sources.mix.begin_s) == (Path("m"), 0.0)
