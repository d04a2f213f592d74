"""Thresholds for the figures of the default weights, and which of them an evaluation fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from model.evaluation.evaluate import OWN, SHUFFLED

_OTHER_VOICE_GAIN = 0.2  # by how much r with another voice may exceed the r that two sentences have by chance
_LEAST_OF_GROUP = 5  # clips of a group that is judged alone; fewer scatter too much
_GROUP_SLACK = 0.8  # a group may miss a threshold by a fifth, because few clips scatter
_GROUPS = ("sex", "skin tone")
_CLOSURE_GAP = 0.25  # by how much more often lips must be closed at p b m than at sounds that leave them open


@dataclass(frozen=True)
class Threshold:
    """Bounds of a measure in a row."""

    measure: str
    low: float = -math.inf
    high: float = math.inf
    row: str = OWN

    @property
    def for_group(self) -> Threshold:
        """Return the bounds for a part of the clips."""
        low = self.low * _GROUP_SLACK if self.low > 0 else self.low / _GROUP_SLACK
        return replace(self, low=low, high=self.high / _GROUP_SLACK)


PUPPET_THRESHOLDS: Final = (
    Threshold("aperture_r", low=0.75),
    Threshold("width_r", low=0.45),
    Threshold("psnr", low=30.0),
    Threshold("ssim", low=0.92),
    Threshold("aperture_lag_frames", -1, 1),
    Threshold("silent_aperture_ratio", high=0.25),
    Threshold("sharpness_ratio", low=0.8),
    Threshold("jitter_ratio", high=1.3),
)
# A finished video is known with its own voice only.
FINISHED_THRESHOLDS: Final = (
    Threshold("lip_voice", low=0.38),
    Threshold("lip_voice_lag_ms", -40, 40),
    Threshold("aperture_r", low=0.55),
    Threshold("width_r", low=0.3),
    Threshold("mouth_sharpness", 0.9, 1.4),  # more is noise or an edge that the film does not have
    Threshold("jitter_ratio", high=1.15),
)
# Without its film, only the match of lips and voice is known.
ALONE_THRESHOLDS: Final = tuple(one for one in FINISHED_THRESHOLDS if one.measure.startswith("lip_voice"))
VIDEO_THRESHOLDS: Final = (
    Threshold("heard_aperture_r", low=0.58),
    Threshold("heard_width_r", low=0.5),
    Threshold("lip_voice", low=0.35, row=SHUFFLED),
    Threshold("aperture_lag_frames", -1, 1),
    Threshold("silent_aperture_ratio", high=0.12),
    *FINISHED_THRESHOLDS,
)


def failures(
    rows: Sequence[Mapping[str, Any]], thresholds: Sequence[Threshold], *, finished: bool = False
) -> list[str]:
    """Return a sentence for each threshold that the rows of an evaluation fail.

    A missing figure fails its threshold. Only closures may be missing, because they need the times of the phonemes.
    finished: the videos are finished, so nothing is known of other voices, and closures are not judged.
    """
    by_name = {row["name"]: row for row in rows}
    found = [sentence for threshold in thresholds if (sentence := _failure(by_name, threshold)) is not None]
    if finished:
        return found
    closed = [by_name[OWN][name] for name in ("bilabials_closed", "others_closed")]
    if None not in closed and closed[0] - closed[1] < _CLOSURE_GAP:
        found.append(f"lips are closed at {closed[0]:.0%} of p b m and at {closed[1]:.0%} of open sounds")
    shuffled = by_name[SHUFFLED]
    pair = [shuffled[name] for name in ("aperture_r", "chance_aperture_r")]
    if None in pair:
        found.append("with another voice nothing is known: judge at least two clips with voices")
    elif pair[0] - pair[1] > _OTHER_VOICE_GAIN:
        found.append(f"with another voice aperture_r is {pair[0]:.2f}, by chance it would be {pair[1]:.2f}")
    return found


def group_failures(by: Mapping[str, Mapping[str, Any]], thresholds: Sequence[Threshold]) -> list[str]:
    """Return a sentence for each threshold that the people of one sex or skin tone fail by more than a fifth.

    by: rows by group, as `summarise` returns them. Groups of few clips are left out, and so are figures that are
    missing, because the figures of all clips tell that they are.
    """
    found = []
    for kind in _GROUPS:
        for name, rows in by.get(kind, {}).items():
            by_name = {row["name"]: row for row in rows}
            if by_name[OWN]["clips"] < _LEAST_OF_GROUP:
                continue
            known = [one.for_group for one in thresholds if by_name[one.row][one.measure] is not None]
            sentences = [_failure(by_name, threshold) for threshold in known]
            found += [f"{kind} {name}: {sentence}" for sentence in sentences if sentence is not None]
    return found


def _failure(by_name: Mapping[str, Mapping[str, Any]], threshold: Threshold) -> str | None:
    """Return a sentence if a row fails a threshold."""
    value = by_name[threshold.row][threshold.measure]
    if value is not None and threshold.low <= value <= threshold.high:
        return None
    where = "" if threshold.row == OWN else f" with {threshold.row}"
    return f"{threshold.measure}{where} is {_text(value)}, it must be {_bounds(threshold)}"


def one_line_summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the most important figures in one line; those that are unknown are left out."""
    by_name = {row["name"]: row for row in rows}
    own, shuffled = by_name[OWN], by_name[SHUFFLED]
    figures = {
        "aperture r": own["aperture_r"],
        "lag": own["aperture_lag_frames"],
        "width r": own["width_r"],
        "lip-voice match": own["lip_voice"],
        "with another voice": shuffled["lip_voice"],
        "silent": own["silent_aperture_ratio"],
        "another voice r": shuffled["aperture_r"],
        "PSNR": own["psnr"],
        "SSIM": own["ssim"],
        "sharpness": own["mouth_sharpness"],
        "jitter": own["jitter_ratio"],
    }
    known = [f"{name} {_text(value)}" for name, value in figures.items() if value is not None]
    clips = f"{own['clips']} clip{'s' * (own['clips'] != 1)}"
    return f"{clips}: {', '.join(known) or 'none of the most important figures is known'}"


def _bounds(threshold: Threshold) -> str:
    """Return the bounds as text."""
    if math.isinf(threshold.high):
        return f"at least {threshold.low:g}"
    return f"at most {threshold.high:g}" if math.isinf(threshold.low) else f"{threshold.low:g} to {threshold.high:g}"


def _text(value: float | None) -> str:
    """Return a figure as text."""
    return "unknown" if value is None else f"{value:.3g}"
