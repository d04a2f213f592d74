"""Fit the tone of one picture to that of another: gain and mean level of each colour channel."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

_Float = TypeVar("_Float", np.float32, np.float64)


def fit_tone(
    x: npt.NDArray[_Float],
    y: npt.NDArray[_Float],
    weight: npt.NDArray[_Float],
    steady: float,
    gains: tuple[float, float],
) -> tuple[npt.NDArray[_Float], npt.NDArray[_Float], npt.NDArray[_Float]]:
    """Return gain, mean of x and mean of y, (3,) each, of the best line from x to y, (3, N) with weights (3, N).

    steady: squared levels that keep the gain near 1 where there is little contrast. gains: smallest and largest gain.
    """
    total = weight.sum(axis=1)
    mean_x, mean_y = (x * weight).sum(axis=1) / total, (y * weight).sum(axis=1) / total
    from_x, from_y = x - mean_x[:, None], y - mean_y[:, None]
    away = from_x * weight
    variance, covariance = (away * from_x).sum(axis=1) / total, (away * from_y).sum(axis=1) / total
    return np.clip((covariance + steady) / (variance + steady), *gains), mean_x, mean_y
