"""The log mel spectrogram of Whisper's encoder."""

from __future__ import annotations

import numpy as np
import pytest

from model.speech_encoder.log_mel import log_mel


def _tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(16_000 * seconds)) / 16_000)).astype(np.float32)


def test_one_column_every_ten_milliseconds() -> None:
    assert log_mel(_tone(440)).shape == (80, 100)


def test_silence_has_one_level() -> None:
    np.testing.assert_array_equal(log_mel(np.zeros(1600, np.float32)), np.full((80, 10), np.float32(-1.5)))


@pytest.mark.parametrize(("low_hz", "high_hz"), [(200, 400), (400, 1200), (1200, 5000)])
def test_a_higher_tone_lies_in_a_higher_band(low_hz: float, high_hz: float) -> None:
    low, high = (int(log_mel(_tone(hz))[:, 50].argmax()) for hz in (low_hz, high_hz))
    assert low < high


def test_levels_end_eight_powers_of_ten_below_the_loudest() -> None:
    levels = log_mel(_tone(1000))
    assert float(levels.max() - levels.min()) == pytest.approx(2.0, abs=1e-5)


def test_ten_times_the_amplitude_is_two_powers_of_ten_more() -> None:
    quiet, loud = log_mel(_tone(1000) / 10), log_mel(_tone(1000))
    assert float(loud.max() - quiet.max()) == pytest.approx(0.5, abs=1e-4)
