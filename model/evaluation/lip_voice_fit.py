"""Fit the lip-voice model on prepared clips of real talkers, and measure it on speakers that it has not seen.

A speaker with many clips counts more than a speaker with one, but only by the square root of their number, so that one
well recorded person does not decide what speech looks like. For the account, each speaker is judged by a model that was
fitted on all others: with the own voice, with the own voice moved in time, and with the voices of others.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from model.arrays import F32, F64, I16
from model.audio import SAMPLE_RATE_HZ
from model.errors import CorpusError
from model.evaluation.cases import ReadLips
from model.evaluation.lip_voice import (
    LIP_STEPS,
    PAIRS,
    SHAPES,
    LipVoiceModel,
    columns_of,
    lip_runs,
    match_lips,
    sound_bands,
    sound_rows,
)
from model.framing import LOWER_FACE
from model.training.clips import clip_folders, read_meta, read_samples

LEAST_SPEAKERS: Final = 4
_LIP_RIDGE, _SOUND_RIDGE = 0.1, 0.5  # added to each variance, as a share of the mean variance
_SHIFTS_S: Final = (-0.4, 0.8)
_MOST_CLIPS, _MOST_OTHERS = 6, 10  # of a speaker that are judged; voices of others that each is judged with
_LEAST_SEEN: Final = 0.9  # share of the frames of a clip in which lips must be seen


@dataclass(frozen=True)
class Talk:
    """Clip of a talker: lips (T, 40, 2) float32 in template face units, voice (n,) int16 at 16 kHz."""

    speaker: str
    lips: F32
    fps: float
    voice: I16

    @property
    def times_s(self) -> F64:
        """Return the time of each frame."""
        return np.arange(len(self.lips)) / self.fps


@dataclass(frozen=True)
class Talks:
    """Clips to learn from, and clips of speakers that are held out."""

    train: list[Talk]
    held_out: list[Talk]


@dataclass(frozen=True)
class HeldOutMatches:
    """Matches of a speaker that the model has not seen: with the own voice, with it shifted, with other voices."""

    speaker: str
    own: list[float]
    shifted: list[float]
    other: list[float]


def read_talks(folder: Path, read_lips: ReadLips, log: Callable[[str], None] = lambda _: None) -> Talks:
    """Read the clips of a corpus and their lips. Raises CorpusError if there are too few speakers to learn from."""
    talks = Talks([], [])
    for clip in clip_folders(folder):
        log(clip.name)
        meta = json.loads((clip / "meta.json").read_text())
        crops = np.load(clip / "crops.npy")
        lips = read_lips(crops, LOWER_FACE).lips
        if np.isfinite(lips[:, 0, 0]).mean() >= _LEAST_SEEN:
            fps = float(meta["fps"])
            talk = Talk(str(meta.get("identity", clip.name)), lips, fps, read_samples(clip, len(crops), fps))
            (talks.train if read_meta(clip).split == "train" else talks.held_out).append(talk)
    speakers = {talk.speaker for talk in talks.train}
    if len(speakers) < LEAST_SPEAKERS:
        raise CorpusError(f"{folder} shows {len(speakers)} speakers to learn from, {LEAST_SPEAKERS} are needed")
    return talks


def fit(talks: Sequence[Talk]) -> LipVoiceModel:
    """Fit the model by regularised canonical correlation analysis."""
    clips = Counter(talk.speaker for talk in talks)
    weights = [clips[talk.speaker] ** -0.5 for talk in talks]
    basis = _shape_basis(talks, weights)
    total: F64 | float = 0.0
    for talk, weight in zip(talks, weights, strict=True):
        rows = _rows(talk, basis)
        if len(rows):
            rows = rows - rows.mean(axis=0)
            total = total + weight * (rows.T @ rows)
    products = np.asarray(total)
    lips = len(LIP_STEPS) * SHAPES  # rows and columns before this belong to the lips
    whiten_lips = _inverse_root(products[:lips, :lips], _LIP_RIDGE)
    whiten_sound = _inverse_root(products[lips:, lips:], _SOUND_RIDGE)
    left, strength, right = np.linalg.svd(whiten_lips @ products[:lips, lips:] @ whiten_sound)
    lip_map, sound_map = whiten_lips @ left[:, :PAIRS], whiten_sound @ right[:PAIRS].T
    # Curves of unit variance: their scale would otherwise depend on how much was learned from.
    lip_map = lip_map / np.sqrt(np.einsum("ik,ij,jk->k", lip_map, products[:lips, :lips], lip_map))
    sound_map = sound_map / np.sqrt(np.einsum("ik,ij,jk->k", sound_map, products[lips:, lips:], sound_map))
    return LipVoiceModel(*(np.asarray(one, np.float32) for one in (basis, lip_map, sound_map, strength[:PAIRS])))


def judge_held_out(talks: Talks) -> list[HeldOutMatches]:
    """Judge each speaker by a model that was fitted on all other speakers to learn from."""
    everybody = [*talks.train, *talks.held_out]
    found = []
    for speaker in sorted({talk.speaker for talk in everybody}):
        model = fit([talk for talk in talks.train if talk.speaker != speaker])
        mine = [talk for talk in everybody if talk.speaker == speaker]
        others = {talk.speaker: talk for talk in everybody if talk.speaker != speaker}
        found.append(_judge_speaker(model, _spread(mine, _MOST_CLIPS), _spread(list(others.values()), _MOST_OTHERS)))
    return found


def separation(good: Sequence[float], bad: Sequence[float]) -> float:
    """Return the chance that a good match is higher than a bad one (area under the ROC curve)."""
    edge = np.asarray(good)[:, None] - np.asarray(bad)
    return float(((edge > 0) + 0.5 * (edge == 0)).mean()) if edge.size else float("nan")


def account(found: Sequence[HeldOutMatches]) -> list[str]:
    """Return the lines of a table: the medians of each speaker, of all, and how well a match tells voices apart."""
    lines = [f"{'held-out speaker':<20} {'clips':>5} {'own':>6} {'shifted':>8} {'other':>6}"]
    own = [match for one in found for match in one.own]
    shifted = [match for one in found for match in one.shifted]
    other = [match for one in found for match in one.other]
    for one in (*found, HeldOutMatches("all", own, shifted, other)):
        medians = [_median(values) for values in (one.own, one.shifted, one.other)]
        lines.append("{:<20} {:>5} {:>6.3f} {:>8.3f} {:>6.3f}".format(one.speaker[:20], len(one.own), *medians))
    areas = separation(own, shifted), separation(own, other)
    lines.append("own above shifted in {:.1%} of pairs, above another voice in {:.1%}".format(*areas))
    return lines


def _judge_speaker(model: LipVoiceModel, mine: Sequence[Talk], others: Sequence[Talk]) -> HeldOutMatches:
    found = HeldOutMatches(mine[0].speaker, [], [], [])
    for talk in mine:
        shapes = model.shapes(talk.lips)
        moved = [np.roll(talk.voice, round(shift * SAMPLE_RATE_HZ)) for shift in _SHIFTS_S]
        strange = [other.voice for other in others]
        for voices, matches in (([talk.voice], found.own), (moved, found.shifted), (strange, found.other)):
            for voice in voices:
                result = match_lips(model, shapes, talk.times_s, voice)
                if result is not None:
                    matches.append(result.match)
    return found


def _rows(talk: Talk, basis: F64) -> F64:
    """Return the rows of lips and sound side by side, (S, 24 + 120), at all steps of a clip at which lips are seen."""
    runs = list(lip_runs(talk.lips.reshape(len(talk.lips), -1).astype(np.float64) @ basis, talk.times_s))
    if not runs:
        return np.zeros((0, 0))
    columns = columns_of(np.concatenate([steps for steps, _ in runs]))
    bands, _ = sound_bands(talk.voice, int(columns.min()), int(columns.max()) + 1)
    lips = np.concatenate([rows for _, rows in runs])
    return np.concatenate([lips, sound_rows(bands)[columns - columns.min()]], axis=1)


def _shape_basis(talks: Sequence[Talk], weights: Sequence[float]) -> F64:
    """Return the first principal components (80, 8) of the lips without their drift."""
    total: F64 | float = 0.0
    for talk, weight in zip(talks, weights, strict=True):
        points = talk.lips.reshape(len(talk.lips), -1)
        for _, rows in lip_runs(points, talk.times_s):
            middle = rows[:, points.shape[1] : 2 * points.shape[1]]
            total = total + weight * (middle.T @ middle)
    return np.asarray(np.linalg.eigh(np.asarray(total))[1][:, : -SHAPES - 1 : -1])


def _inverse_root(products: F64, ridge: float) -> F64:
    """Return the inverse square root of a matrix of products, with a ridge."""
    values, vectors = np.linalg.eigh(products)
    return np.asarray((vectors * (values + ridge * values.mean()) ** -0.5) @ vectors.T)


def _spread(items: Sequence[Talk], count: int) -> list[Talk]:
    """Return at most `count` evenly spaced items."""
    return [items[at] for at in np.unique(np.linspace(0, len(items) - 1, count).round().astype(int))]


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")
