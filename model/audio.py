"""The mel front end: the spectrogram that networks get of a recording.

The definition is that of the published Wav2Lip code (Prajwal et al. 2020), so that its checkpoints work: pre-emphasis,
a Hann-windowed STFT centred on each column and reflected at both ends, Slaney mel bands, and decibels mapped to -4..4.
Column k is centred on sample 200 k, that is on k * 12.5 ms.

As published, a frame at time t has column floor(80 t); a MelWindow starts at an offset from that column. Only the
requested columns are computed, so a recording of any length may stay on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from model.arrays import F32, F64, I16, I64

SAMPLE_RATE_HZ = 16_000
MEL_BANDS = 80
MEL_RATE_HZ = 80  # columns per second
HOP = SAMPLE_RATE_HZ // MEL_RATE_HZ  # 200 samples
FFT_SIZE = 4 * HOP  # 800 samples, 50 ms
SILENCE = -4.0  # the value of every band in digital silence

_PREEMPHASIS = 0.97
_LOWEST_HZ, _HIGHEST_HZ = 55.0, 7600.0
_REFERENCE_DB, _FLOOR_DB = 20.0, -100.0
_SMALLEST_AMPLITUDE = 10 ** (_FLOOR_DB / 20)  # 1e-5
_RANGE = 4.0
_CHUNK_COLUMNS = 2048  # 13 MB of windows at a time
_LINEAR_END_HZ, _HZ_PER_LINEAR_MEL, _LOG_STEP = 1000.0, 200.0 / 3.0, np.log(6.4) / 27.0  # Slaney's mel scale

Samples = F32 | I16


@dataclass(frozen=True)
class MelWindow:
    """Columns of the spectrogram for one frame: `columns` of them, from `offset_columns` after the frame's own on."""

    columns: int = 16
    offset_columns: int = 0


# Lips part up to 0.3 s before the voice, and take the shape of the sound that follows. The window therefore holds more
# of the sound after the frame than before it.
AROUND_FRAME = MelWindow(columns=32, offset_columns=-12)  # 150 ms before to 250 ms after
STARTING_AT_FRAME = MelWindow()  # published Wav2Lip weights


def mel_spectrogram(samples: Samples) -> F32:
    """Compute the whole spectrogram.

    samples: (n,) float in -1..1 or int16, mono at 16 kHz. Returns (80, 1 + n // 200) float32 in -4..4. A sample that is
    not finite counts as 0, and values outside -1..1 are clipped.
    """
    return _columns(samples, np.arange(column_count(len(samples)))).T.copy()


def mel_windows(samples: Samples, times_s: F64, window: MelWindow) -> F32:
    """Compute the mel window of each frame time.

    samples: (n,) float in -1..1 or int16 (a memmap will do), mono at 16 kHz. times_s: (N,) frame times in seconds.
    Returns (N, 80, columns) float32 in -4..4, equal to the columns of `mel_spectrogram`. Before the first and after the
    last column the windows hold digital silence.
    """
    wanted = first_columns(times_s, window)[:, None] + np.arange(window.columns)  # (N, columns)
    distinct, position = np.unique(wanted, return_inverse=True)
    inside = (distinct >= 0) & (distinct < column_count(len(samples)))
    values = np.full((len(distinct), MEL_BANDS), SILENCE, np.float32)
    values[inside] = _columns(samples, distinct[inside])
    windows: F32 = values[position.reshape(wanted.shape)].transpose(0, 2, 1)
    return windows


def first_columns(times_s: F64, window: MelWindow) -> I64:
    """Return the first column of the window at each time in seconds, as (N,) int64."""
    # The millionth of a column keeps frame 5 of 25 fps (0.2 s) on column 16, however its time was rounded.
    own: I64 = np.floor(np.asarray(times_s, np.float64) * MEL_RATE_HZ + 1e-6).astype(np.int64)
    return own + window.offset_columns


def column_count(sample_count: int) -> int:
    """Return the number of columns in the whole spectrogram of `sample_count` samples."""
    return 1 + sample_count // HOP if sample_count else 0


def _columns(samples: Samples, columns: I64) -> F32:
    """Compute the columns with these numbers, as (len(columns), 80) float32.

    The numbers may come in any order, but none may lie outside the spectrogram.
    """
    parts = [_chunk(samples, part) for part in np.split(columns, range(_CHUNK_COLUMNS, len(columns), _CHUNK_COLUMNS))]
    return np.concatenate(parts)


def _chunk(samples: Samples, columns: I64) -> F32:
    """Compute C columns at once, as (C, 80) float32."""
    index = columns[:, None] * HOP + np.arange(-FFT_SIZE // 2, FFT_SIZE // 2)
    index = _reflect(index, len(samples))  # (C, 800)
    emphasised = _read(samples, index) - _PREEMPHASIS * np.where(index > 0, _read(samples, np.maximum(index - 1, 0)), 0)
    spectrum = np.abs(np.fft.rfft(emphasised * _hann(), axis=1))  # (C, 401)
    bands = spectrum @ _mel_bank().T  # (C, 80)
    level_db = 20 * np.log10(np.maximum(_SMALLEST_AMPLITUDE, bands)) - _REFERENCE_DB
    scaled = 2 * _RANGE * (level_db - _FLOOR_DB) / -_FLOOR_DB - _RANGE
    column: F32 = np.clip(scaled, -_RANGE, _RANGE).astype(np.float32)
    return column


def _reflect(index: I64, count: int) -> I64:
    """Mirror indices outside 0..count-1 at both ends, as often as needed; the edge itself is not repeated."""
    if count == 1:
        return np.zeros_like(index)
    period = 2 * (count - 1)
    folded = np.abs(index) % period if count else index
    return np.where(folded >= count, period - folded, folded)


def _read(samples: Samples, index: I64) -> F64:
    """Read samples by number as float64 in -1..1, without reading outside their span."""
    if index.size == 0:
        return np.zeros(index.shape)
    low, high = int(index.min()), int(index.max()) + 1
    if high - low > 4 * index.size:  # far apart: read each one instead of the whole span
        raw = np.asarray(samples[index.ravel()]).reshape(index.shape)
    else:
        raw = np.asarray(samples[low:high])[index - low]
    if raw.dtype == np.int16:
        return raw.astype(np.float64) / 32768
    clean = np.nan_to_num(raw.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(clean, -1.0, 1.0)


@lru_cache(maxsize=1)
def _hann() -> F64:
    """Return the periodic Hann window, (800,)."""
    window: F64 = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_SIZE) / FFT_SIZE)
    return window


@lru_cache(maxsize=1)
def _mel_bank() -> F64:
    return mel_bank(MEL_BANDS, FFT_SIZE, _LOWEST_HZ, _HIGHEST_HZ)


def mel_bank(bands: int, fft_size: int, lowest_hz: float, highest_hz: float) -> F64:
    """Return triangular bands of equal area on Slaney's mel scale for sound at 16 kHz, (bands, fft_size / 2 + 1)."""
    fft_hz = np.arange(fft_size // 2 + 1) * SAMPLE_RATE_HZ / fft_size
    edge_hz = _mel_to_hz(np.linspace(_hz_to_mel(lowest_hz), _hz_to_mel(highest_hz), bands + 2))
    rising = (fft_hz - edge_hz[:-2, None]) / np.diff(edge_hz)[:-1, None]
    falling = (edge_hz[2:, None] - fft_hz) / np.diff(edge_hz)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edge_hz[2:] - edge_hz[:-2]))[:, None])


def _hz_to_mel(hz: float) -> float:
    if hz < _LINEAR_END_HZ:
        return hz / _HZ_PER_LINEAR_MEL
    return float(_LINEAR_END_HZ / _HZ_PER_LINEAR_MEL + np.log(hz / _LINEAR_END_HZ) / _LOG_STEP)


def _mel_to_hz(mel: F64) -> F64:
    linear_end = _LINEAR_END_HZ / _HZ_PER_LINEAR_MEL  # 15
    return np.where(mel < linear_end, mel * _HZ_PER_LINEAR_MEL, _LINEAR_END_HZ * np.exp(_LOG_STEP * (mel - linear_end)))
