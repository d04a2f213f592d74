"""Lip-voice match: how well the lips of a video fit a voice, from arrays alone.

A linear model (canonical correlation analysis, Hotelling 1936) was fitted on films of real talkers. It turns the shape
of the lips and the sound into pairs of curves that go together in real speech. The match of a video is the correlation
of these pairs, weighted by how strongly each pair goes together in real films. It is about 0.4 for real talkers with
their own voice, and about 0.15 with the voice of somebody else. It needs no film to compare with.

Lips count as in sync up to 125 ms before the sound and up to 45 ms after it (ITU-R BT.1359), so the match is the best
one in that range. The lag with the best match of all is told as well.

The shape of the lips is given in template face units, so size and place of the face do not matter. Slow changes of the
shape come from the head and from the expression, slow changes of the sound from the room and from the microphone. A
running mean of two seconds removes both. What is left is linear in the shapes, so a clip may be read in parts and the
parts put together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from model.arrays import F32, F64, I16, I64, Floats
from model.audio import MEL_BANDS, MEL_RATE_HZ, SILENCE, MelWindow, mel_windows
from model.errors import CheckpointError
from model.face_points import LIP_EDGES
from model.files import replacing

SHAPES: Final = 8  # numbers that describe the shape of the lips in a frame
GRID_HZ: Final = 25.0  # rate at which the model sees lips and sound
LIP_STEPS: Final = (-1, 0, 1)  # steps of the grid around a moment that describe the lips
SOUND_COLUMNS: Final = (-8, -4, 0, 4, 8, 12)  # mel columns around a moment that describe the sound: -100 to +150 ms
BANDS: Final = 20  # mel bands, each the mean of four
PAIRS: Final = 6  # pairs of curves that are compared
DRIFT_S: Final = 2.0  # slower changes of lips and sound are removed
FARTHEST_COLUMNS: Final = 32  # lags of up to 400 ms are tried
IN_SYNC_COLUMNS: Final = (-10, 3)  # viewers take lips for synchronous that are 125 ms early to 37.5 ms late
LEAST_S: Final = 2.0  # of lips, and of these LEAST_SOUND_S with sound; with less, chance decides
LEAST_SOUND_S: Final = 0.8
_LEAST_RUN_S: Final = 1.0  # from a shorter run of frames the drift cannot be told
_GAP_S: Final = 0.2  # between two frames; a longer gap ends a run
_AUDIBLE: Final = SILENCE + 1.0  # of the mean of all bands
_DRIFT_COLUMNS: Final = round(DRIFT_S * MEL_RATE_HZ / 2)
_FORMAT: Final = "lipsync-lip-voice/1"
_FILE: Final = Path(__file__).parents[1] / "weights" / "lip_voice.safetensors"
_TENSORS: Final = {
    "basis": (2 * len(LIP_EDGES), SHAPES),
    "lip_map": (len(LIP_STEPS) * SHAPES, PAIRS),
    "sound_map": (len(SOUND_COLUMNS) * BANDS, PAIRS),
    "strength": (PAIRS,),
}


@dataclass(frozen=True)
class LipVoiceModel:
    """Linear model of lips and sound that go together.

    basis: (80, 8), shapes from the 40 lip points. lip_map: (24, 6), curves from the shapes at LIP_STEPS. sound_map:
    (120, 6), curves from the bands at SOUND_COLUMNS. strength: (6,) correlation of each pair of curves in real speech.
    All float32.
    """

    basis: F32
    lip_map: F32
    sound_map: F32
    strength: F32

    def shapes(self, lips: Floats) -> F64:
        """Return the shapes (T, 8) of lips (T, 40, 2) in template face units."""
        return np.asarray(lips.reshape(len(lips), 2 * len(LIP_EDGES)).astype(np.float64) @ self.basis)


@dataclass(frozen=True)
class LipVoiceMatch:
    """Match of lips and voice.

    match: -1..1, at the best lag in sync. lag_s: the lag with the best match of all, positive if the lips are late.
    curve: (65,) the match at each lag of -FARTHEST_COLUMNS .. FARTHEST_COLUMNS mel columns. seconds: of lips that were
    compared.
    """

    match: float
    lag_s: float
    curve: F64
    seconds: float


def match_lips(model: LipVoiceModel, shapes: Floats, times_s: F64, voice: I16) -> LipVoiceMatch | None:
    """Match the shapes of lips with a voice.

    shapes: (T, 8), not a number in frames without lips. times_s: (T,) their times in the voice, increasing. voice: (n,)
    int16 at 16 kHz. Returns None if too few frames show lips, or if too little of the voice around them can be heard.
    """
    runs = list(lip_runs(shapes, times_s))
    if sum(len(steps) for steps, _ in runs) < LEAST_S * GRID_HZ:
        return None
    steps = np.concatenate([steps for steps, _ in runs])
    columns = columns_of(steps)
    first, last = int(columns.min()) - FARTHEST_COLUMNS, int(columns.max()) + FARTHEST_COLUMNS + 1
    bands, is_audible = sound_bands(voice, first, last)
    if is_audible[columns - first].sum() < LEAST_SOUND_S * GRID_HZ:
        return None
    lips = np.concatenate([rows for _, rows in runs]) @ model.lip_map
    sound = sound_rows(bands) @ model.sound_map  # of each column from `first` on
    lags = np.arange(-FARTHEST_COLUMNS, FARTHEST_COLUMNS + 1)
    curve = np.array([_correlation(lips, sound[columns - first - lag], model.strength) for lag in lags])
    in_sync = (lags >= IN_SYNC_COLUMNS[0]) & (lags <= IN_SYNC_COLUMNS[1])
    best = float(lags[np.argmax(curve)]) / MEL_RATE_HZ
    return LipVoiceMatch(float(curve[in_sync].max()), best, curve, len(steps) / GRID_HZ)


def match_reading(model: LipVoiceModel, lips: Floats, fps: float, voice: I16) -> LipVoiceMatch | None:
    """Match lips (T, 40, 2) at a constant frame rate with a voice, as `match_lips` does."""
    return match_lips(model, model.shapes(lips), np.arange(len(lips)) / fps, voice)


def lip_runs(shapes: Floats, times_s: F64) -> Iterator[tuple[I64, F64]]:
    """Yield, for each unbroken run of frames, the steps of the grid (S,) in it, and their rows (S, 24).

    shapes: (T, any) at increasing times_s (T,). A row holds the shapes at LIP_STEPS without their drift.
    """
    known = np.isfinite(shapes).all(axis=1)
    shapes, times_s = np.asarray(shapes, np.float64)[known], times_s[known]
    gaps = np.flatnonzero(np.diff(times_s) > _GAP_S) + 1
    for part in np.split(np.arange(len(times_s)), gaps):
        if not len(part):
            continue
        times = times_s[part]
        steps = np.arange(math.ceil(times[0] * GRID_HZ - 1e-6), math.floor(times[-1] * GRID_HZ + 1e-6) + 1)
        if len(steps) < _LEAST_RUN_S * GRID_HZ:
            continue
        even = np.stack([np.interp(steps / GRID_HZ, times, curve) for curve in shapes[part].T], axis=1)
        even -= running_mean(even, round(DRIFT_S * GRID_HZ / 2))
        near = [np.clip(np.arange(len(even)) + step, 0, len(even) - 1) for step in LIP_STEPS]
        yield steps, np.concatenate([even[at] for at in near], axis=1)


def columns_of(steps: I64) -> I64:
    """Return the mel column at each step of the grid."""
    return np.asarray(np.floor(steps / GRID_HZ * MEL_RATE_HZ + 1e-6), np.int64)


def sound_bands(voice: I16, first: int, last: int) -> tuple[F64, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return the bands of the mel columns [first, last) without their drift, and in which columns sound is heard.

    The bands (C + 20, 20) begin and end with the further columns that `sound_rows` needs. Only these columns are
    computed, so the voice may be of any length and lie on disk.
    """
    before, after = -SOUND_COLUMNS[0], SOUND_COLUMNS[-1]
    start = first - before - _DRIFT_COLUMNS
    window = MelWindow(last + after + _DRIFT_COLUMNS - start, start)
    mel = mel_windows(voice, np.zeros(1), window)[0].T.astype(np.float64)  # (columns, 80)
    bands = mel.reshape(len(mel), BANDS, MEL_BANDS // BANDS).mean(axis=2)
    inner = slice(_DRIFT_COLUMNS, len(mel) - _DRIFT_COLUMNS)
    level = mel[inner].mean(axis=1)[before : before + last - first]
    return (bands - running_mean(bands, _DRIFT_COLUMNS))[inner], level > _AUDIBLE


def sound_rows(bands: F64) -> F64:
    """Return the rows (C, 120) of the columns whose bands (C + 20, 20) `sound_bands` returned."""
    count = len(bands) - (SOUND_COLUMNS[-1] - SOUND_COLUMNS[0])
    starts = [column - SOUND_COLUMNS[0] for column in SOUND_COLUMNS]
    return np.concatenate([bands[start : start + count] for start in starts], axis=1)


def running_mean(rows: F64, reach: int) -> F64:
    """Return the mean of rows (T, any) over the rows at most `reach` away, of which there are fewer at the ends."""
    total = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
    at = np.arange(len(rows))
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(rows))
    return np.asarray((total[high] - total[low]) / (high - low)[:, None])


def save_model(path: Path, model: LipVoiceModel) -> None:
    """Write a model; a reader finds the old file or the new one, never a part of it."""
    tensors = {name: np.ascontiguousarray(getattr(model, name), np.float32) for name in _TENSORS}
    with replacing(path) as partial:
        save_file(tensors, partial, {"format": _FORMAT})


def load_model(path: Path = _FILE) -> LipVoiceModel:
    """Read a model, that of the package if no other is named. Raises CheckpointError for a file that is no model."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path.name}: it cannot be read as a lip-voice model ({error})") from error
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != _TENSORS or not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise CheckpointError(f"{path.name}: it is not a lip-voice model of this version")
    return LipVoiceModel(**tensors)


def _correlation(lips: F64, sound: F64, strength: F32) -> float:
    """Return the weighted correlation of pairs of curves, two (T, 6); 0 if one of them does not move."""
    lips, sound = lips - lips.mean(axis=0), sound - sound.mean(axis=0)
    products = ((lips, sound), (lips, lips), (sound, sound))
    both, lips_alone, sound_alone = (float((a * b).sum(axis=0) @ strength) for a, b in products)
    size = math.sqrt(lips_alone * sound_alone)
    return both / size if size > 1e-9 else 0.0
