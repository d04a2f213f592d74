"""Smooth steps: weights that go from 0 to 1 without a corner."""

from __future__ import annotations

import numpy as np

from model.arrays import F32, F64, Floats


def smoothstep(share: F64) -> F64:
    """Return a smooth ramp from 0 (share <= 0) to 1 (share >= 1)."""
    return np.asarray(_smooth(share))


def ramp(values: Floats, low: float, high: float) -> F32:
    """Return a smooth step: 0 up to `low`, 1 from `high` on, float32."""
    return np.asarray(_smooth((values - low) / (high - low)), np.float32)


def step(distance: Floats, soft: float) -> F32:
    """Return a smooth step from 0 to 1 where a distance passes 0, `soft` wide to both sides, float32."""
    return np.asarray(_smooth(distance / (2 * soft) + 0.5), np.float32)


def _smooth(share: Floats) -> Floats:
    held = np.clip(share, 0.0, 1.0)
    return held * held * (3.0 - 2.0 * held)
