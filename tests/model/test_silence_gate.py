"""The silence gate on whole recordings in memory; tests/worker/media has the rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from model.silence_gate import STEP, apply_gain, gate_gain, gated, levels_db
from tests.sounds import buzz, s16, times


def gain_of(samples: np.ndarray) -> np.ndarray:
    return gate_gain(levels_db(samples), samples)


def speech_between_pauses() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 20, 48_000) / 32768
    noise[16_000:32_000] += buzz(1.0)
    return s16(noise)


def test_speech_stays_and_pauses_are_silent() -> None:
    samples = speech_between_pauses()
    heard = gated(samples)
    np.testing.assert_array_equal(heard[16_000:32_000], samples[16_000:32_000])
    assert not heard[:12_000].any() and not heard[38_000:].any()


def test_an_empty_recording_stays_empty() -> None:
    empty = np.zeros(0, np.int16)
    assert levels_db(empty).shape == gain_of(empty).shape == (0,)
    assert gated(empty).shape == (0,) and gated(empty).dtype == np.int16


def test_parts_are_gated_as_the_whole() -> None:
    samples = speech_between_pauses()
    gain = gain_of(samples)
    parts = [apply_gain(samples[k * STEP : (k + 50) * STEP], gain, k) for k in range(0, 300, 50)]
    np.testing.assert_array_equal(np.concatenate(parts), gated(samples))


def tone() -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 440 * times(4))


def melody() -> np.ndarray:
    return np.concatenate([0.3 * np.sin(2 * np.pi * hz * times(0.5)) for hz in (440, 550, 660, 440, 330, 500, 700)])


def chord() -> np.ndarray:
    parts = [np.sin(2 * np.pi * hz * k * times(4)) / k for hz in (220, 277, 330) for k in range(1, 8)]
    return np.asarray(0.1 * sum(parts))


def hiss() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(64_000) * (times(4) % 1 < 0.6)


def clicks(every_s: float, fade_s: float, hz: float | None) -> np.ndarray:
    """Return clicks, of noise or of a tone, that fade away."""
    at, sound = times(0.1), np.zeros(64_000)
    wave = np.random.default_rng(0).standard_normal(len(at)) if hz is None else np.sin(2 * np.pi * hz * at)
    for start in range(2000, 60_000, round(every_s * 16_000)):
        sound[start : start + len(at)] += 0.4 * wave * np.exp(-at / fade_s)
    return sound


@pytest.mark.parametrize(
    "sound",
    [
        tone,
        melody,
        chord,
        hiss,
        lambda: clicks(0.5, 0.002, None),
        lambda: clicks(0.5, 0.01, 1500.0),
        lambda: clicks(0.25, 0.004, None),
    ],
)
def test_tones_and_clicks_do_not_open_the_gate(sound: Callable[[], np.ndarray]) -> None:
    assert gain_of(s16(sound())).mean() < 0.1


def test_speech_that_clicks_follow_stays_open() -> None:
    samples = s16(np.concatenate([buzz(2.0), clicks(0.5, 0.002, None)]))
    gain = gain_of(samples)
    assert gain[:200].all() and gain[230:].mean() < 0.1


def test_the_burst_of_a_consonant_belongs_to_its_word() -> None:
    burst = 0.1 * np.random.default_rng(0).standard_normal(320)
    samples = s16(np.concatenate([np.zeros(8000), buzz(0.5), np.zeros(1600), burst, np.zeros(8000)]))
    assert gain_of(samples)[110:113].all()


@pytest.mark.parametrize("below_db", [32, 36, 40, 44])
@pytest.mark.parametrize("first", ["loud", "quiet"])
def test_a_quiet_speaker_beside_a_loud_one_is_heard(below_db: float, first: str) -> None:
    loud, quiet, pause = buzz(2.0), buzz(2.0) * 10 ** (-below_db / 20), np.zeros(8000)
    order = [loud, pause, quiet] if first == "loud" else [quiet, pause, loud]
    gain = gain_of(s16(np.concatenate(order)))
    spoken = gain[260:440] if first == "loud" else gain[10:190]
    assert spoken.mean() > 0.9


@pytest.mark.parametrize("quiet", [tone, chord, hiss, lambda: clicks(0.5, 0.002, None)])
def test_other_quiet_sounds_stay_out(quiet: Callable[[], np.ndarray]) -> None:
    samples = s16(np.concatenate([buzz(2.0), 10 ** (-35 / 20) * quiet()]))
    assert gain_of(samples)[230:].mean() < 0.1


def test_the_echo_of_a_loud_speaker_is_no_second_speaker() -> None:
    at = times(2.0)
    hall = np.random.default_rng(0).standard_normal(len(at)) * 10 ** (-3 * at / 1.5)  # 60 dB in 1.5 s
    dry = np.concatenate([buzz(2.0), np.zeros(32_000)])
    wet = np.fft.irfft(np.fft.rfft(dry, 131_072) * np.fft.rfft(0.01 * hall, 131_072))[: len(dry)]
    samples = s16(dry + wet)
    assert gain_of(samples)[300:].mean() < 0.1
