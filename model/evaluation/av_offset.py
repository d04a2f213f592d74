"""The offset between sound and lips of a recording, in frames.

Real recordings are often one to three frames out of sync, and a generator that is trained on them draws late lips.
Without a network, the aperture of the lips is compared with the loudness of the voice, after slow changes are removed
from both. On recordings that are in sync the two agree best within one frame of no lag, and a shift of the sound is
found to within one frame. A trained sync expert finds more offsets. In both cases an offset counts only if it is much
better than no offset and than all other offsets.
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
from model.training.tensors import to_faces, to_sound

REACH_FRAMES = 6  # largest offset that is tried; a peak at this offset does not count
LEAST_FRAMES = 60  # of a recording; with fewer the evidence is too weak
_SLOW_S = 1.0  # slower changes come from sentences, not from syllables, and are removed
_SMOOTH_COLUMNS = 1.6
_APART_FRAMES = 3  # offsets at least this far from the best one count as rivals
_BATCH = 64


@dataclass(frozen=True)
class Offset:
    """Number of frames by which the sound is late (negative: early), with its evidence.

    frames: 0 if the evidence is not clear. height: of the best offset; r for loudness, cosine above the median for the
    expert.
    """

    frames: int
    height: float


@dataclass(frozen=True)
class ClearEvidence:
    """Least values of clear evidence: height of the peak, its gain over no offset, its lead over rivals."""

    height: float
    gain: float
    lead: float


LOUDNESS = ClearEvidence(0.4, 0.15, 0.15)  # r; found with recordings of three seconds and known shifts
EXPERT = ClearEvidence(0.1, 0.04, 0.03)  # cosine


class ExpertNetwork(Protocol):
    """Network that maps lower halves of faces and mel windows to vectors of unit length."""

    def embed_face(self, halves: Tensor) -> Tensor:
        """Embed five stacked lower halves, (N, 15, S/2, S) in 0..1 -> (N, D)."""

    def embed_audio(self, mels: Tensor) -> Tensor:
        """Embed mel windows, (N, 1, 80, columns) -> (N, D)."""


@dataclass(frozen=True)
class OffsetExpert:
    """Trained sync expert with the crop size and the mel window that it was trained with."""

    network: ExpertNetwork
    image_size: int
    window: MelWindow


@dataclass(frozen=True)
class Piece:
    """Part of a recording: crops (T, S, S, 3) uint8 RGB, aperture (T,) of the lips, sound (n,) int16 at 16 kHz."""

    crops: U8
    aperture: F32
    sound: I16


def find_offset(pieces: Sequence[Piece], fps: float, expert: OffsetExpert | None = None) -> Offset:
    """Find the common offset of all pieces of one recording, by the expert or else by loudness."""
    long_enough = [piece for piece in pieces if len(piece.aperture) > 2 * REACH_FRAMES + FRAMES]
    curves = [_by_loudness(piece, fps) if expert is None else _by_expert(piece, fps, expert) for piece in long_enough]
    lengths = [len(piece.aperture) for piece in long_enough]
    known = [(curve, length) for curve, length in zip(curves, lengths, strict=True) if np.isfinite(curve).all()]
    if sum(length for _, length in known) < LEAST_FRAMES:
        return Offset(0, 0.0)
    mean = np.average([curve for curve, _ in known], axis=0, weights=[length for _, length in known])
    return _decide(mean, LOUDNESS) if expert is None else _decide(mean - np.median(mean), EXPERT)


def shift_sound(samples: I16, frames: int, fps: float) -> I16:
    """Return sound (n,) int16 at 16 kHz, moved so that sound which is `frames` frames late is in sync.

    Silence fills the end, or the start if the sound was early.
    """
    shift = int(np.clip(round(frames * SAMPLE_RATE_HZ / fps), -len(samples), len(samples)))
    silence = np.zeros(abs(shift), np.int16)
    parts = [samples[shift:], silence] if shift >= 0 else [silence, samples[:shift]]
    return np.concatenate(parts)


def _decide(curve: F64, clear: ClearEvidence) -> Offset:
    """Choose the offset from the agreement (2 * REACH_FRAMES + 1,) at each lag of the lips.

    The lags go from -REACH_FRAMES to REACH_FRAMES. Lips with a negative lag are early, which means that the sound is
    late.
    """
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
    """Return the correlation of aperture and loudness at every lag of the lips."""
    return lag_curve(_fast_part(piece.aperture, fps), _fast_part(_loudness(piece, fps), fps), REACH_FRAMES)


def _loudness(piece: Piece, fps: float) -> F64:
    """Return the mean of all mel bands at the time of each frame, (T,): a loudness with equal weight for each band."""
    mean = gaussian_filter1d(mel_spectrogram(piece.sound).mean(axis=0).astype(np.float64), _SMOOTH_COLUMNS)
    at = np.round(np.arange(len(piece.aperture)) / fps * MEL_RATE_HZ).astype(np.int64)
    return np.asarray(mean[np.clip(at, 0, len(mean) - 1)])


def _fast_part(curve: F32 | F64, fps: float) -> F64:
    """Return a curve (T,) without its slow changes."""
    wide = np.asarray(curve, np.float64)
    return np.asarray(wide - uniform_filter1d(wide, round(_SLOW_S * fps), mode="nearest"))


@torch.inference_mode()
def _by_expert(piece: Piece, fps: float, expert: OffsetExpert) -> F64:
    """Return the mean cosine of lips and sound at every lag of the lips."""
    cpu = torch.device("cpu")
    crops = resized(piece.crops, expert.image_size)
    mels = mel_windows(piece.sound, np.arange(len(crops)) / fps, expert.window)
    starts = np.arange(len(crops) - FRAMES + 1)
    faces, sounds = [], []
    for batch in np.split(starts, range(_BATCH, len(starts), _BATCH)):
        runs = to_faces(np.concatenate([crops[start : start + FRAMES] for start in batch]), cpu)
        faces.append(expert.network.embed_face(stack_lower_halves(runs.reshape(len(batch), FRAMES, *runs.shape[1:]))))
        sounds.append(expert.network.embed_audio(to_sound(mels[batch + FRAMES // 2], cpu)))
    cosine = (torch.cat(faces) @ torch.cat(sounds).T).double().numpy()  # (lips, sounds)
    return np.array([np.diagonal(cosine, -lag).mean() for lag in range(-REACH_FRAMES, REACH_FRAMES + 1)])
