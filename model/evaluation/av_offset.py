"""How many frames sound comes late against lips, where a recording says so clearly.

Real recordings are often one to three frames out of sync, and a generator that learns from them learns to be late.
Without help the lips' aperture is compared with the loudness of the voice, both freed of their slow parts: on sync
recordings the two agree best within a frame of no lag, and a shift of the sound is found to within a frame. A trained
sync expert sees more. Either way an offset counts only where it is much better than none, and than every other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from torch import Tensor

from model.arrays import F32, F64, I16, U8
from model.audio import MEL_RATE_HZ, SAMPLE_RATE_HZ, MelWindow, mel_spectrogram, mel_windows
from model.evaluation.metrics import lag_curve
from model.network.sync_expert import FRAMES, stack_lower_halves
from model.training.clips import resized
from model.training.tensors import to_faces, to_mels

REACH_FRAMES = 6  # looked at to either side; an offset at the very end is not believed
LEAST_FRAMES = 60  # of a recording; less proves nothing
_SLOW_S = 1.0  # what changes more slowly is the loudness of a sentence, not of a syllable
_SMOOTH_COLUMNS = 1.6
_APART_FRAMES = 3  # from the best offset: others that count as rivals
_BATCH = 64


@dataclass(frozen=True)
class Offset:
    """Say by how many frames the sound comes late (negative: early), and how high the evidence stands.

    frames is 0 where the evidence is not clear. height: r for loudness, cosine above the median for the expert.
    """

    frames: int
    height: float


@dataclass(frozen=True)
class Clear:
    """Say what makes evidence clear: the height of the peak, its gain over no offset, its lead over rivals."""

    height: float
    gain: float
    lead: float


LOUDNESS = Clear(0.4, 0.15, 0.15)  # r; found on sync recordings of three seconds that were shifted on purpose
EXPERT = Clear(0.1, 0.04, 0.03)  # cosine


class Judge(Protocol):
    """A sync expert: (N,15,S/2,S) pixels in 0..1 and (N,1,80,columns) mels become vectors of unit length."""

    def embed_face(self, halves: Tensor) -> Tensor:
        """Embed five lower halves."""

    def embed_audio(self, mels: Tensor) -> Tensor:
        """Embed mel windows."""


@dataclass(frozen=True)
class Listener:
    """Hold an expert with the size of crops and the mel window it was trained with."""

    judge: Judge
    image_size: int
    window: MelWindow


@dataclass(frozen=True)
class Piece:
    """One stretch of a recording: crops (T,S,S,3) uint8 RGB, aperture (T,), sound (n,) int16 at 16 kHz."""

    crops: U8
    aperture: F32
    sound: I16


def find_offset(pieces: Sequence[Piece], fps: float, listener: Listener | None = None) -> Offset:
    """Find the offset that all pieces of one recording have in common."""
    curves = [
        _by_loudness(piece, fps) if listener is None else _by_expert(piece, fps, listener)
        for piece in pieces
        if len(piece.aperture) > 2 * REACH_FRAMES + FRAMES
    ]
    lengths = [len(piece.aperture) for piece in pieces if len(piece.aperture) > 2 * REACH_FRAMES + FRAMES]
    known = [(curve, length) for curve, length in zip(curves, lengths, strict=True) if np.isfinite(curve).all()]
    if sum(length for _, length in known) < LEAST_FRAMES:
        return Offset(0, 0.0)
    mean = np.average([curve for curve, _ in known], axis=0, weights=[length for _, length in known])
    return _decide(mean, LOUDNESS) if listener is None else _decide(mean - np.median(mean), EXPERT)


def shift_sound(samples: I16, frames: int, fps: float) -> I16:
    """Move sound that is `frames` late forwards; silence fills the end, or the start of sound that was early."""
    shift = int(np.clip(round(frames * SAMPLE_RATE_HZ / fps), -len(samples), len(samples)))
    silence = np.zeros(abs(shift), np.int16)
    parts = [samples[shift:], silence] if shift >= 0 else [silence, samples[:shift]]
    return np.concatenate(parts)


def _decide(curve: F64, clear: Clear) -> Offset:
    """Choose from likeness at lags of the lips -REACH .. REACH; lips that are early mean sound that is late."""
    best = int(np.argmax(curve))
    height = float(curve[best])
    rivals = curve[np.abs(np.arange(len(curve)) - best) >= _APART_FRAMES]
    is_clear = (
        0 < best < len(curve) - 1
        and height >= clear.height
        and height - curve[REACH_FRAMES] >= clear.gain
        and height - rivals.max() >= clear.lead
    )
    return Offset(REACH_FRAMES - best if is_clear else 0, round(height, 3))


def _by_loudness(piece: Piece, fps: float) -> F64:
    return lag_curve(_quick(piece.aperture, fps), _quick(_loudness(piece, fps), fps), REACH_FRAMES)


def _loudness(piece: Piece, fps: float) -> F64:
    """Return the mean of the mel bands, a loudness to which every band counts alike, at each frame's time."""
    mean = gaussian_filter1d(mel_spectrogram(piece.sound).mean(axis=0).astype(np.float64), _SMOOTH_COLUMNS)
    at = np.round(np.arange(len(piece.aperture)) / fps * MEL_RATE_HZ).astype(np.int64)
    return np.asarray(mean[np.clip(at, 0, len(mean) - 1)])


def _quick(curve: F32 | F64, fps: float) -> F64:
    wide = np.asarray(curve, np.float64)
    return np.asarray(wide - uniform_filter1d(wide, round(_SLOW_S * fps), mode="nearest"))


@torch.inference_mode()
def _by_expert(piece: Piece, fps: float, listener: Listener) -> F64:
    """Return the mean cosine of mouths and sounds with the lips `lag` frames after the sound, at every lag."""
    cpu = torch.device("cpu")
    crops = resized(piece.crops, listener.image_size)
    mels = mel_windows(piece.sound, np.arange(len(crops)) / fps, listener.window)
    starts = np.arange(len(crops) - FRAMES + 1)
    faces, sounds = [], []
    for batch in np.split(starts, range(_BATCH, len(starts), _BATCH)):
        runs = to_faces(np.concatenate([crops[start : start + FRAMES] for start in batch]), cpu)
        faces.append(listener.judge.embed_face(stack_lower_halves(runs.reshape(len(batch), FRAMES, *runs.shape[1:]))))
        sounds.append(listener.judge.embed_audio(to_mels(mels[batch + FRAMES // 2], cpu)))
    cosine = (torch.cat(faces) @ torch.cat(sounds).T).double().numpy()  # (mouths, sounds)
    return np.array([np.diagonal(cosine, -lag).mean() for lag in range(-REACH_FRAMES, REACH_FRAMES + 1)])
