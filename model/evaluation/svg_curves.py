"""Curves as SVG, small enough to stand in a page by the dozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

import numpy as np

from model.arrays import Floats

_WIDTH, _HEIGHT = 860, 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 8, 22
_Y_TICKS = 3


def curves_svg(name: str, curves: Mapping[str, Floats], fps: float) -> str:
    """Draw curves (T,) over time in one frame, the k-th of class `ck`; gaps stay gaps."""
    count = max(len(curve) for curve in curves.values())
    known = np.concatenate([curve[np.isfinite(curve)] for curve in curves.values()])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    high = high if high > low else low + 1.0
    across = (_WIDTH - _LEFT - _RIGHT) / max(1, count - 1)
    down = (_HEIGHT - _TOP - _BOTTOM) / (high - low)

    def y(value: float) -> float:
        return _TOP + (high - value) * down

    label = escape(f"{name}: {', '.join(curves)}")
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">']
    parts.append(f'<text class="tick" x="{_LEFT + 6}" y="{_TOP + 10}">{escape(name)}</text>')
    for value in np.linspace(low, high, _Y_TICKS):
        parts.append(f'<path class="grid" d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 6}" y="{y(value) + 4:.1f}">{value:.2f}</text>')
    for second in range(int((count - 1) / fps) + 1):
        parts.append(f'<text class="tick" x="{_LEFT + second * fps * across:.1f}" y="{_HEIGHT - 5}">{second} s</text>')
    for number, curve in enumerate(curves.values()):
        parts.append(f'<path class="curve c{number}" d="{_path(curve, across, y)}"/>')
    return "".join([*parts, "</svg>"])


def _path(curve: Floats, across: float, y: Callable[[float], float]) -> str:
    """Return the path of a curve: a new stroke after every gap."""
    words: list[str] = []
    drawing = False
    for index, value in enumerate(curve):
        if not np.isfinite(value):
            drawing = False
            continue
        words.append(f"{'L' if drawing else 'M'}{_LEFT + index * across:.1f} {y(float(value)):.1f}")
        drawing = True
    return "".join(words)
