"""What the default weights promise, and which of it a row of figures breaks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from model.evaluation.evaluate import OWN, SHUFFLED

_STRANGER_SHARE = 0.2  # of r that another's voice may add to what two sentences have in common anyway
_CLOSURE_GAP = 0.25  # by which lips are closed more often at p b m than at sounds that leave them open


@dataclass(frozen=True)
class Promise:
    """Bound a measure of the row with its own audio."""

    measure: str
    low: float = -math.inf
    high: float = math.inf


_EVERYWHERE: Final = (
    Promise("aperture_lag_frames", -1, 1),
    Promise("silent_aperture_ratio", high=0.25),
    Promise("sharpness_ratio", low=0.8),
    Promise("jitter_ratio", high=1.3),
)
PUPPETS: Final = (
    Promise("aperture_r", low=0.75),
    Promise("width_r", low=0.45),
    Promise("psnr", low=30.0),
    Promise("ssim", low=0.92),
    *_EVERYWHERE,
)
PEOPLE: Final = (Promise("aperture_r", low=0.55), Promise("width_r", low=0.3), *_EVERYWHERE)


def broken(rows: Sequence[Mapping[str, Any]], promises: Sequence[Promise]) -> list[str]:
    """Return a sentence for each promise that the rows of an evaluation break; a figure that is missing breaks it.

    Closures alone may be unknown: they need the times of the sounds.
    """
    by_name = {row["name"]: row for row in rows}
    found = []
    for promise in promises:
        value = by_name[OWN][promise.measure]
        if value is None or not promise.low <= value <= promise.high:
            found.append(f"{promise.measure} is {_text(value)}, promised was {_bounds(promise)}")
    closed = [by_name[OWN][name] for name in ("bilabials_closed", "others_closed")]
    if None not in closed and closed[0] - closed[1] < _CLOSURE_GAP:
        found.append(f"lips are closed at {closed[0]:.0%} of p b m and at {closed[1]:.0%} of open sounds")
    stranger = by_name[SHUFFLED]
    gain = [stranger[name] for name in ("aperture_r", "chance_aperture_r")]
    if None in gain:
        found.append("with another's voice nothing is known: judge at least two clips with voices")
    elif gain[0] - gain[1] > _STRANGER_SHARE:
        found.append(f"with another's voice aperture_r is {gain[0]:.2f}, by chance it would be {gain[1]:.2f}")
    return found


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures that count in one line."""
    by_name = {row["name"]: row for row in rows}
    own, stranger = by_name[OWN], by_name[SHUFFLED]
    words = [
        f"aperture r {_text(own['aperture_r'])} at lag {_text(own['aperture_lag_frames'])}",
        f"width r {_text(own['width_r'])}",
        f"silent {_text(own['silent_aperture_ratio'])}",
        f"another's voice r {_text(stranger['aperture_r'])}",
        f"PSNR {_text(own['psnr'])}",
        f"SSIM {_text(own['ssim'])}",
        f"sharpness {_text(own['sharpness_ratio'])}",
        f"jitter {_text(own['jitter_ratio'])}",
    ]
    return f"{own['clips']} clips: " + ", ".join(words)


def _bounds(promise: Promise) -> str:
    if math.isinf(promise.high):
        return f"at least {promise.low:g}"
    return f"at most {promise.high:g}" if math.isinf(promise.low) else f"{promise.low:g} to {promise.high:g}"


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
