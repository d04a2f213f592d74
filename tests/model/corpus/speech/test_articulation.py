"""The articulation of each kind of sound."""

from __future__ import annotations

import numpy as np
import pytest

from model.articulation import Channel
from model.corpus.speech.articulation import FPS, Style, add_smile, articulate
from model.corpus.speech.speech import Phone


def held(symbol: str, around: str = "ə", seconds: float = 0.2) -> np.ndarray:
    """Return the row in the middle of a sound between two others."""
    phones = [Phone(around, 0.0, 0.4), Phone(symbol, 0.4, 0.4 + seconds), Phone(around, 0.4 + seconds, 1.0)]
    rows = articulate(phones, 25)
    return rows[round((0.4 + 0.45 * seconds) * FPS)]


@pytest.mark.parametrize("symbol", ["p", "b", "m", "pʲ", "mʲ"])
@pytest.mark.parametrize("around", ["ɑ", "i", "u"])
@pytest.mark.parametrize("seconds", [0.06, 0.2])
def test_lips_meet_whatever_is_around(symbol: str, around: str, seconds: float) -> None:
    phones = [Phone(around, 0.0, 0.4), Phone(symbol, 0.4, 0.4 + seconds), Phone(around, 0.4 + seconds, 1.0)]
    rows = articulate(phones, 25)
    shut = rows[10 : 11 + int(0.5 * seconds * FPS)]
    assert shut[:, Channel.APERTURE].min() < 0.01 and shut[:, Channel.PRESS].max() > 0.95
    assert rows[3, Channel.PRESS] == rows[-4, Channel.PRESS] == 0


@pytest.mark.parametrize("symbol", ["f", "v"])
def test_the_lower_lip_is_tucked(symbol: str) -> None:
    row = held(symbol)
    assert row[Channel.TUCK] > 0.95 and row[Channel.APERTURE] < 0.1 and row[Channel.PRESS] == 0


@pytest.mark.parametrize(
    ("channel", "low", "high"),
    [
        (Channel.APERTURE, "i", "ɑ"),
        (Channel.APERTURE, "u", "æ"),
        (Channel.JAW, "s", "a"),
        (Channel.WIDTH, "u", "ə"),
        (Channel.WIDTH, "ɔ", "i"),
        (Channel.WIDTH, "w", "ɛ"),
        (Channel.PROTRUSION, "i", "u"),
        (Channel.PROTRUSION, "s", "ʃ"),
        (Channel.TONGUE, "ɑ", "l"),
        (Channel.TONGUE, "k", "θ"),
    ],
)
def test_sounds_differ_as_they_should(channel: Channel, low: str, high: str) -> None:
    assert held(low)[channel] + 0.2 < held(high)[channel]


def test_silence_is_rest() -> None:
    assert not articulate([], 30).any()
    assert np.abs(articulate([Phone("", 0.0, 1.2)], 30)).max() < 1e-6
    rows = articulate([Phone("a", 0.0, 0.4), Phone("", 0.4, 2.0)], 50)
    assert rows[5, Channel.APERTURE] > 0.5 and rows[-10:, Channel.APERTURE].max() < 0.03


def test_a_short_gap_between_words_does_not_shut_the_mouth() -> None:
    rows = articulate([Phone("a", 0.0, 0.4), Phone("", 0.4, 0.44), Phone("a", 0.44, 1.0)], 25)
    assert rows[5:20, Channel.APERTURE].min() > 0.7


def test_rounding_starts_before_its_vowel() -> None:
    rows = articulate([Phone("t", 0.0, 0.4), Phone("u", 0.4, 0.8)], 20)
    assert rows[8, Channel.WIDTH] < -0.2 and rows[2, Channel.WIDTH] > -0.1


def test_a_diphthong_moves() -> None:
    rows = articulate([Phone("aɪ", 0.0, 0.4)], 10)
    assert rows[2, Channel.APERTURE] > rows[8, Channel.APERTURE] + 0.2
    assert rows[8, Channel.WIDTH] > rows[2, Channel.WIDTH] + 0.1


def test_speed_is_limited() -> None:
    phones = [Phone("a" if i % 2 else "s", i * 0.05, (i + 1) * 0.05) for i in range(40)]
    rows = articulate(phones, 50)
    assert np.abs(np.diff(rows[:, Channel.APERTURE])).max() < 14.0 / FPS


def test_style_scales_the_opening() -> None:
    phones = [Phone("a", 0.0, 1.0)]
    small, large = (articulate(phones, 25, Style(opening=o))[12, Channel.APERTURE] for o in (0.7, 1.4))
    assert large == pytest.approx(2 * small, rel=0.01)


@pytest.mark.parametrize("symbol", ["ʲ", "ː", "5", "☃"])
def test_marks_without_a_target_are_skipped(symbol: str) -> None:
    rows = articulate([Phone("a", 0.0, 0.5), Phone(symbol, 0.5, 0.55), Phone("a", 0.55, 1.0)], 25)
    assert np.isfinite(rows).all() and rows[5:20, Channel.APERTURE].min() > 0.7


def test_lips_part_before_speech_after_a_long_pause_only() -> None:
    late = articulate([Phone("", 0.0, 1.0), Phone("ə", 1.0, 1.4)], 35, Style(ready_s=0.25))
    assert late[int(0.6 * FPS), Channel.APERTURE] < 0.05 < 0.12 < late[int(0.9 * FPS), Channel.APERTURE]
    never = articulate([Phone("", 0.0, 1.0), Phone("ə", 1.0, 1.4)], 35, Style(ready_s=0.0))
    assert never[int(0.8 * FPS), Channel.APERTURE] < late[int(0.8 * FPS), Channel.APERTURE]
    ended = articulate([Phone("ə", 0.0, 0.4), Phone("", 0.4, 1.4)], 35)
    assert ended[int(1.2 * FPS), Channel.APERTURE] < 0.03


def test_a_smile_is_wide_and_parted_and_still_closes() -> None:
    rows = articulate([Phone("", 0.0, 0.4), Phone("m", 0.4, 0.6), Phone("ɑ", 0.6, 1.0)], 25)
    assert add_smile(rows, 0.0) is rows
    shown = add_smile(rows, 1.0)
    rest, shut = shown[2], shown[int(0.5 * FPS)]
    assert rest[Channel.WIDTH] > 0.8 and rest[Channel.APERTURE] > 0.2
    assert shut[Channel.APERTURE] < 0.03
    assert (shown[:, Channel.APERTURE] >= rows[:, Channel.APERTURE] - 1e-6).all()
