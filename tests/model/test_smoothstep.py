"""Smooth steps."""

from __future__ import annotations

import numpy as np

from model.smoothstep import ramp, smoothstep, step


def test_a_step_is_smooth_between_0_and_1() -> None:
    at = np.linspace(-1, 2, 301)
    values = smoothstep(at)
    assert values.dtype == np.float64 and (np.diff(values) >= 0).all()
    assert not values[at <= 0].any() and (values[at >= 1] == 1).all()
    np.testing.assert_allclose(values + values[::-1], 1.0, atol=1e-12)


def test_ramp_and_step_place_it() -> None:
    found = ramp(np.array([2.0, 3.0, 4.0, 5.0, 9.0], np.float32), 3.0, 5.0)
    assert found.dtype == np.float32 and found.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert step(np.array([-2.0, 0.0, 2.0], np.float32), 2.0).tolist() == [0.0, 0.5, 1.0]
