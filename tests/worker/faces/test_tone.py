"""Fitting the tone of one picture to that of another."""

from __future__ import annotations

import numpy as np
import pytest

from worker.faces.tone import fit_tone


@pytest.mark.parametrize(("gain", "found"), [(1.2, 1.2), (0.5, 0.8), (3.0, 1.5)])
def test_gain_and_levels_are_found_within_bounds(gain: float, found: float) -> None:
    x = np.random.default_rng(0).uniform(0, 200, (3, 50))
    y = gain * x + 10
    weight = np.ones_like(x)
    y[:, 0], weight[:, 0] = 999.0, 0.0  # what has no weight does not count
    fitted, mean_x, mean_y = fit_tone(x, y, weight, 0.0, (0.8, 1.5))
    np.testing.assert_allclose(fitted, found)
    np.testing.assert_allclose((mean_x, mean_y), (x[:, 1:].mean(axis=1), y[:, 1:].mean(axis=1)))


def test_without_contrast_the_gain_is_one() -> None:
    flat = np.full((3, 10), 100.0)
    gain, _, _ = fit_tone(flat, flat + 30, np.ones_like(flat), 150.0, (0.5, 2.0))
    np.testing.assert_allclose(gain, 1.0)
