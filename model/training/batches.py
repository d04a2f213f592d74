"""Batches drawn at random from training clips, as arrays.

Every random choice comes from one generator, which the caller seeds with the number of the step. A resumed run
therefore draws the same batches as a run that was never interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.arrays import F32, I64, U8
from model.articulation import Channel
from model.audio import MEL_BANDS, SILENCE
from model.training.clips import RUN, Clip, Corpus

_REFERENCE_DISTANCE = 5  # least number of frames between target and reference, if the clip is long enough
Rng = np.random.Generator


@dataclass(frozen=True)
class FaceBatch:
    """N targets to draw, their references and their sound.

    targets, references (N,S,S,3) uint8 RGB; mels (N,80,columns); articulation (N,7) of the targets; target_mesh and
    reference_mesh (N,468,2). The first `runs` * 5 items are runs of five consecutive frames, which share a reference.
    others (runs,K,80,columns): mel windows of other moments of each run's clip. features (N,16,384) of a speech
    encoder; None if the corpus was opened without one.
    """

    targets: U8
    references: U8
    mels: F32
    articulation: F32
    target_mesh: F32
    reference_mesh: F32
    runs: int
    others: F32
    features: F32 | None = None


@dataclass(frozen=True)
class SyncBatch:
    """M moments of each of C clips: runs (C,M,5,S,S,3) uint8 RGB, mels (C,M,80,columns) of each run's middle frame."""

    runs: U8
    mels: F32


@dataclass(frozen=True)
class _Choice:
    """Consecutive frames of a clip and the number of their reference."""

    clip: Clip
    start: int
    length: int
    reference: int

    @property
    def frames(self) -> slice:
        return slice(self.start, self.start + self.length)

    @property
    def references(self) -> list[int]:
        return [self.reference] * self.length


def draw_faces(corpus: Corpus, rng: Rng, runs: int, singles: int, others: int = 7) -> FaceBatch:
    """Draw runs of five frames and then single frames, each from a random clip, with a reference from that clip."""
    chosen = [_choose(corpus, rng, length) for length in [RUN] * runs + [1] * singles]
    apart = [
        one.clip.mels[_other_moments(rng, len(one.clip.mels), one.start + RUN // 2, others)]
        for one in chosen
        if one.length == RUN
    ]
    return FaceBatch(
        np.concatenate([one.clip.crops[one.frames] for one in chosen]),
        np.concatenate([one.clip.crops[one.references] for one in chosen]),
        np.concatenate([one.clip.mels[one.frames] for one in chosen]),
        np.concatenate([one.clip.articulation[one.frames] for one in chosen]),
        np.concatenate([one.clip.mesh[one.frames] for one in chosen]),
        np.concatenate([one.clip.mesh[one.references] for one in chosen]),
        runs,
        np.stack(apart) if apart else np.zeros((0, others, MEL_BANDS, corpus.window.columns), np.float32),
        _features(chosen),
    )


def _features(chosen: list[_Choice]) -> F32 | None:
    """Return the speech encoder's features of all chosen frames, None if the clips have none."""
    parts = [one.clip.features[one.frames] for one in chosen if one.clip.features is not None]
    return np.concatenate(parts).astype(np.float32) if len(parts) == len(chosen) else None


def _choose(corpus: Corpus, rng: Rng, length: int) -> _Choice:
    """Choose a clip, `length` consecutive frames of it, and a reference."""
    clip = corpus.clip(int(rng.integers(len(corpus))))
    start = int(rng.integers(len(clip.crops) - length + 1))
    return _Choice(clip, start, length, choose_reference(rng, clip.articulation[:, Channel.APERTURE], start, length))


def draw_moments(corpus: Corpus, rng: Rng, clips: int, moments: int) -> SyncBatch:
    """Draw several moments from each of several clips."""
    runs, mels = [], []
    for _ in range(clips):
        clip = corpus.clip(int(rng.integers(len(corpus))))
        last = len(clip.crops) - RUN
        starts = rng.choice(last + 1, moments, replace=last + 1 < moments)
        runs.append(np.stack([clip.crops[start : start + RUN] for start in starts]))
        mels.append(clip.mels[starts + RUN // 2])
    return SyncBatch(np.stack(runs), np.stack(mels))


def choose_reference(rng: Rng, openness: F32, start: int, length: int) -> int:
    """Choose a frame outside start .. start+length-1, at least five frames from it if the clip is long enough.

    openness (T,): how open the mouth is, NaN if unknown. In serving the reference shows a face at rest, so the most
    closed of three candidates is taken. One time in four it is any frame, because in serving not every face rests.
    Raises ValueError if there is no other frame.
    """
    index = np.arange(len(openness))
    distance = np.maximum(start - index, index - (start + length - 1))
    if distance.max() < 1:
        raise ValueError("a clip needs a frame besides the target")
    far = np.flatnonzero(distance >= min(_REFERENCE_DISTANCE, int(distance.max())))
    candidates = rng.choice(far, 1 if rng.random() < 0.25 else 3)
    return int(candidates[int(np.nan_to_num(openness[candidates]).argmin())])


def _other_moments(rng: Rng, frames: int, moment: int, count: int) -> I64:
    """Choose frames at least three from a moment, so that they sound different."""
    index = np.flatnonzero(np.abs(np.arange(frames) - moment) >= min(3, max(moment, frames - 1 - moment)))
    return rng.choice(index, count, replace=len(index) < count)


def vary_mels(rng: Rng, mels: F32) -> F32:
    """Change loudness, tilt and noise floor, as another place and microphone would. (N,80,columns) -> same.

    All N get the same change. Values stay in -4..4; 0.08 is one decibel.
    """
    gain, tilt = rng.uniform(-0.8, 0.5), rng.uniform(-0.4, 0.4)
    changed = mels + (gain + tilt * np.linspace(-1, 1, MEL_BANDS))[:, None]
    floor = rng.uniform(-4.0, -2.6) if rng.random() < 0.5 else SILENCE
    noise = floor + rng.normal(0, 0.15, changed.shape) if floor > SILENCE else SILENCE
    varied: F32 = np.clip(np.maximum(changed, noise), SILENCE, -SILENCE).astype(np.float32)
    return varied
