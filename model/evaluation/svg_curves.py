"""Curves over time as SVG, small enough for dozens of them on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from model.arrays import Floats
from model.evaluation.pages import render

_WIDTH, _HEIGHT = 860, 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 8, 22  # margins
_Y_TICKS = 3


@dataclass(frozen=True)
class _Tick:
    """Label of an axis at a coordinate of the picture."""

    at: float
    text: str


def curves_svg(name: str, curves: Mapping[str, Floats], fps: float) -> Markup:
    """Draw curves (T,) over time in one frame; curve k has the class `ck`, and gaps in a curve stay gaps."""
    count = max(len(curve) for curve in curves.values())
    known = np.concatenate([curve[np.isfinite(curve)] for curve in curves.values()])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    high = high if high > low else low + 1.0
    x_step = (_WIDTH - _LEFT - _RIGHT) / max(1, count - 1)
    y_scale = (_HEIGHT - _TOP - _BOTTOM) / (high - low)

    def y(value: float) -> float:
        return _TOP + (high - value) * y_scale

    seconds = range(int((count - 1) / fps) + 1)
    return render(
        "curves.svg",
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        top=_TOP,
        label=f"{name}: {', '.join(curves)}",
        name=name,
        value_ticks=[_Tick(y(float(value)), f"{value:.2f}") for value in np.linspace(low, high, _Y_TICKS)],
        second_ticks=[_Tick(_LEFT + second * fps * x_step, f"{second} s") for second in seconds],
        paths=[_path(curve, x_step, y) for curve in curves.values()],
    )


def _path(curve: Floats, x_step: float, y: Callable[[float], float]) -> str:
    """Return the SVG path of a curve: a new stroke after every gap."""
    parts: list[str] = []
    drawing = False
    for index, value in enumerate(curve):
        if not np.isfinite(value):
            drawing = False
            continue
        parts.append(f"{'L' if drawing else 'M'}{_LEFT + index * x_step:.1f} {y(float(value)):.1f}")
        drawing = True
    return "".join(parts)
