"""The input of Whisper's encoder: a logarithmic mel spectrogram.

Its definition is that of OpenAI's Whisper (Radford et al. 2022, https://arxiv.org/abs/2212.04356): frames of 25 ms
every 10 ms under a periodic Hann window, 80 mel bands up to 8 kHz on Slaney's scale, the logarithm to base 10 of the
power, cut off eight units below the loudest band, and shifted and scaled to about -1..1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from model.arrays import F32, F64
from model.audio import MEL_BANDS, SAMPLE_RATE_HZ, mel_bank

HOP: Final = 160
FFT_SIZE: Final = 400
_SMALLEST_POWER = 1e-10
_RANGE = 8.0  # powers of ten below the loudest band


def log_mel(sound: F32) -> F32:
    """Return the log mel spectrogram (80, n // 160) float32 of sound (n,) float32 in -1..1, n of at least 400."""
    padded = np.pad(sound, FFT_SIZE // 2, mode="reflect")
    starts = np.arange(len(sound) // HOP) * HOP
    frames = padded[starts[:, None] + np.arange(FFT_SIZE)]
    power = np.square(np.abs(np.fft.rfft(frames * _hann(), axis=1)))
    levels = np.log10(np.maximum(power @ _bank().T, _SMALLEST_POWER)).T
    levels = np.maximum(levels, levels.max() - _RANGE)
    return np.asarray((levels + 4.0) / 4.0, np.float32)


@lru_cache(maxsize=1)
def _hann() -> F32:
    """Return the periodic Hann window, (400,)."""
    window: F64 = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_SIZE) / FFT_SIZE)
    return window.astype(np.float32)


@lru_cache(maxsize=1)
def _bank() -> F64:
    """Return the mel bands, (80, 201)."""
    return mel_bank(MEL_BANDS, FFT_SIZE, 0.0, SAMPLE_RATE_HZ / 2)
