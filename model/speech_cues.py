"""Cues that tell speech from other sounds of the same level, in steps of 40 ms.

Speech changes all the time: its spectrum is never alike for a quarter of a second. That of a tone, a held chord or a
steady hiss is. And most of speech is voiced: its wave repeats 70 to 400 times a second, which clicks, breath and most
noise do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from model.arrays import F32, I16, I64, release_pages
from model.audio import SAMPLE_RATE_HZ

HOP: Final = SAMPLE_RATE_HZ // 25  # 40 ms
WINDOW: Final = 1024  # 64 ms
APART: Final = 3  # hops between two spectra that are compared
BINS: Final = slice(4, 400)  # 60 Hz to 6.2 kHz
PITCH_LAGS: Final = slice(SAMPLE_RATE_HZ // 400, SAMPLE_RATE_HZ // 70)
LOWEST_VOICE_HZ: Final = 100.0  # rumble below repeats too
BLOCK_HOPS: Final = 1500  # a minute at a time
_HANN: Final = np.hanning(WINDOW).astype(np.float32)
_LEAST_POWER: Final = 1e-3  # of a window of 16-bit samples; less is silence


def similarity(samples: I16, hops: I64) -> F32:
    """Return how alike the spectrum of each hop (k,) is to that 120 ms later, (k,) float32 0..1."""
    parts = [np.zeros(0, np.float32)]
    for part in _blocks(samples, hops):
        now, later = _spectra(samples, part), _spectra(samples, part + APART)
        parts.append(np.asarray((now * later).sum(axis=1), np.float32))
    return np.concatenate(parts)


def voicing(samples: I16, hops: I64) -> F32:
    """Return how exactly the wave repeats at the pitch of a voice around each hop (k,), (k,) float32 about 0..1."""
    parts = [np.zeros(0, np.float32)]
    own = np.fft.irfft(np.abs(np.fft.rfft(_HANN, 2 * WINDOW)) ** 2)[: PITCH_LAGS.stop]
    is_voice = np.fft.rfftfreq(2 * WINDOW, 1 / SAMPLE_RATE_HZ) >= LOWEST_VOICE_HZ
    for part in _blocks(samples, hops):
        wave = _windows(samples, part)
        wave = (wave - wave.mean(axis=1, keepdims=True)) * _HANN
        power = np.abs(np.fft.rfft(wave, 2 * WINDOW, axis=1)) ** 2 * is_voice
        repeats = np.fft.irfft(power, axis=1)[:, : PITCH_LAGS.stop]
        share = repeats / own / np.maximum(repeats[:, :1] / own[0], _LEAST_POWER)
        parts.append(share[:, PITCH_LAGS].max(axis=1).astype(np.float32))
    return np.concatenate(parts)


def _blocks(samples: I16, hops: I64) -> Iterator[I64]:
    """Yield the hops a minute at a time; what was read of samples in a file is released after each."""
    for start in range(0, len(hops), BLOCK_HOPS):
        yield hops[start : start + BLOCK_HOPS]
        release_pages(samples)


def _spectra(samples: I16, hops: I64) -> F32:
    """Return spectra of length 1, (k, bins) float32; weak parts count more than by their power."""
    spectra = np.sqrt(np.abs(np.fft.rfft(_windows(samples, hops) * _HANN, axis=1))[:, BINS])
    return np.asarray(spectra / np.maximum(np.linalg.norm(spectra, axis=1, keepdims=True), _LEAST_POWER), np.float32)


def _windows(samples: I16, hops: I64) -> F32:
    """Return the samples around the middle of each hop, (k, WINDOW) float32; silence beyond both ends."""
    at = (hops * HOP + HOP // 2 - WINDOW // 2)[:, None] + np.arange(WINDOW)
    inside = (at >= 0) & (at < len(samples))
    found = np.asarray(samples[np.clip(at, 0, max(0, len(samples) - 1))], np.float32)
    return np.where(inside, found, np.float32(0))
