"""Windows cut from the features of a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.speech_encoder.port import FEATURES, FIRST_STEP, WINDOW_STEPS, feature_count, feature_windows


def _ramp(steps: int) -> np.ndarray:
    """Return features whose value is the time in seconds that they describe."""
    time_s = (np.arange(steps) + 0.5) / 50
    return np.repeat(time_s[:, None], FEATURES, axis=1).astype(np.float32)


@pytest.mark.parametrize(("samples", "steps"), [(1, 1), (320, 1), (321, 2), (16_000, 50)])
def test_a_step_holds_twenty_milliseconds(samples: int, steps: int) -> None:
    assert feature_count(samples) == steps


def test_a_window_reaches_from_120_ms_before_the_frame_to_180_ms_after_it() -> None:
    window = feature_windows(_ramp(200), np.array([1.0, 1.04]))
    assert window.shape == (2, WINDOW_STEPS, FEATURES) and window.dtype == np.float32
    wanted = 1.0 + (np.arange(WINDOW_STEPS) + FIRST_STEP) / 50
    np.testing.assert_allclose(window[0, :, 0], wanted, atol=1e-5)
    np.testing.assert_allclose(window[1, :, 7], wanted + 0.04, atol=1e-5)


def test_the_ends_are_repeated() -> None:
    window = feature_windows(_ramp(10), np.array([-5.0, 0.0, 9.0]))
    np.testing.assert_array_equal(window[0], np.full((WINDOW_STEPS, FEATURES), np.float32(0.01)))
    np.testing.assert_array_equal(window[2], np.full((WINDOW_STEPS, FEATURES), np.float32(0.19)))
    assert np.isfinite(feature_windows(_ramp(1), np.array([0.0, 3.0]))).all()


def test_a_time_gives_the_same_window_however_it_was_computed() -> None:
    features = np.random.default_rng(1).standard_normal((100, FEATURES)).astype(np.float16)
    times_s = np.arange(20) / 25
    rounded = times_s + 1e-10
    np.testing.assert_array_equal(feature_windows(features, times_s), feature_windows(features, rounded))


def test_any_part_of_the_frames_has_the_windows_of_all(tmp_path: Path) -> None:
    path = tmp_path / "features.f16"
    np.random.default_rng(2).standard_normal((300, FEATURES)).astype(np.float16).tofile(path)
    mapped = np.memmap(path, np.float16, "r").reshape(-1, FEATURES)
    times_s = np.arange(140) / 29.97
    whole = feature_windows(mapped, times_s)
    parts = [feature_windows(mapped, times_s[first : first + 9]) for first in range(0, 140, 9)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
