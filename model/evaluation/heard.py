"""How well the lips can be heard: the articulation that the hearing network predicts, beside the lips of the film.

It is known before anything is drawn, so it tells which half of a network to improve. A linear regression from mel bands
is the baseline: a network that hears no better than that has learned little. The baseline is fitted in the same
evaluation, for each speaker on all other speakers. Prepared clips name their speaker. Videos do not: each counts as a
speaker of its own, so its regression may have learned from another video of the same person.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from model.arrays import F32, F64, I16, Floats
from model.articulation import Channel
from model.audio import MEL_RATE_HZ
from model.evaluation.lip_voice import DRIFT_S, running_mean, sound_bands, sound_rows
from model.evaluation.metrics import lag_curve

Hear = Callable[[I16, F64], F32 | None]  # voice (n,) int16 at 16 kHz, times (N,) in seconds -> articulation (N, 7)
LEAST_SPEAKERS: Final = 4  # with fewer there is no baseline
_REACH_S: Final = 0.2  # largest lag: recordings are often out of sync by a few frames
_RIDGE: Final = 3.0  # added to each variance of the bands, as a share of the mean variance
_MOUTH = {
    "aperture_r": (0, Channel.APERTURE),
    "width_r": (1, Channel.WIDTH),
}  # columns of the mouth, of the articulation


@dataclass(frozen=True)
class FilmedTalk:
    """Filmed mouth of a clip, (T, 2) aperture and width, not a number in frames without a face, with its voice."""

    speaker: str
    mouth: Floats
    fps: float
    voice: I16


def compare_with_heard(heard: F32, filmed: Floats, drawn: Floats, fps: float) -> dict[str, float]:
    """Correlate the heard articulation (T, 7) with the filmed mouth (T, 2), and the drawn mouth with what was heard."""
    found = {}
    for name, (column, channel) in _MOUTH.items():
        found[f"heard_{name}"] = best_r(heard[:, channel], filmed[:, column], fps)
        found[f"drawn_heard_{name}"] = best_r(drawn[:, column], heard[:, channel], fps)
    return found


def baseline(talks: Sequence[FilmedTalk]) -> list[dict[str, float]]:
    """Predict the mouth of each clip by a ridge regression from mel bands, and correlate it with the film's.

    The regression of a clip is fitted on the clips of all other speakers, as the talks name them. Without enough
    speakers nothing is returned for a clip.
    """
    speakers = sorted({talk.speaker for talk in talks})
    if len(speakers) < LEAST_SPEAKERS:
        return [{} for _ in talks]
    rows = [_bands(talk) for talk in talks]
    sums = {speaker: np.zeros((rows[0].shape[1], rows[0].shape[1] + len(_MOUTH))) for speaker in speakers}
    for talk, bands in zip(talks, rows, strict=True):
        lips = without_drift(talk.mouth, talk.fps)
        known = np.isfinite(lips).all(axis=1)
        weight = sum(other.speaker == talk.speaker for other in talks) ** -0.5  # as in `lip_voice_fit`
        sums[talk.speaker] += weight * bands[known].T @ np.concatenate([bands[known], lips[known]], axis=1)
    found = []
    for talk, bands in zip(talks, rows, strict=True):
        products = np.sum([sums[speaker] for speaker in speakers if speaker != talk.speaker], axis=0)
        predicted = bands @ _ridge(products)
        values = {
            f"mel_{name}": best_r(predicted[:, column], talk.mouth[:, column], talk.fps)
            for name, (column, _) in _MOUTH.items()
        }
        found.append(values)
    return found


def _ridge(products: F64) -> F64:
    """Return the coefficients (D, C) of a ridge regression, from its sums of products (D, D + C)."""
    size = len(products)
    alone = products[:, :size] + _RIDGE * float(np.trace(products[:, :size])) / size * np.eye(size)
    return np.linalg.solve(alone, products[:, size:])


def best_r(first: Floats, second: Floats, fps: float) -> float:
    """Return the correlation of two curves (T,) without their drift, at the best lag of up to 0.2 s."""
    a, b = (without_drift(curve[:, None], fps)[:, 0] for curve in (first, second))
    curve = lag_curve(a, b, max(1, round(_REACH_S * fps)))
    return float(np.nanmax(curve)) if np.isfinite(curve).any() else float("nan")


def without_drift(curves: Floats, fps: float) -> F64:
    """Return curves (T, C) without their running mean of two seconds; unknown frames stay unknown."""
    known = np.isfinite(curves)
    filled = np.where(known, curves, 0.0).astype(np.float64)
    reach = round(DRIFT_S * fps / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = running_mean(filled, reach) / running_mean(known.astype(np.float64), reach)
    return np.where(known, filled - mean, np.nan)


def _bands(talk: FilmedTalk) -> F64:
    """Return the mel bands around each frame, (T, 120), without their mean."""
    columns = np.floor(np.arange(len(talk.mouth)) / talk.fps * MEL_RATE_HZ + 1e-6).astype(np.int64)
    bands, _ = sound_bands(talk.voice, 0, int(columns[-1]) + 1)
    rows = sound_rows(bands)[columns]
    return np.asarray(rows - rows.mean(axis=0))
