"""Effects of a recording on a voice: reverberation, noise, microphone, telephone band, loudness.

No effect moves a sound in time: each filter is causal or symmetric, so a phoneme stays at its time to within 2 ms.

Every effect takes samples (n,) float32 at 16 kHz and a generator, and returns (n,) float32.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

from model.arrays import F32, I16
from model.audio import SAMPLE_RATE_HZ


def _power(samples: F32) -> float:
    """Return the mean power of the samples that are not silent, 0 if all are."""
    loud = np.abs(samples) > 1e-4
    return float(np.mean(np.square(samples[loud]))) if loud.any() else 0.0


def reverberate(samples: F32, rng: np.random.Generator) -> F32:
    """Add reverberation: a tail of decaying noise that starts 4 to 20 ms after the direct sound."""
    decay_s = rng.uniform(0.12, 0.6)
    tail = rng.standard_normal(int(decay_s * SAMPLE_RATE_HZ)) * np.exp(
        -6.9 * np.arange(int(decay_s * SAMPLE_RATE_HZ)) / (decay_s * SAMPLE_RATE_HZ)
    )
    response = np.concatenate([np.zeros(int(rng.uniform(0.004, 0.02) * SAMPLE_RATE_HZ)), tail])
    response *= rng.uniform(0.1, 0.6) / max(1e-6, float(np.linalg.norm(response)))
    tail = fftconvolve(samples, response)[: len(samples)]
    return np.asarray(samples + tail, np.float32)


def add_noise(samples: F32, rng: np.random.Generator) -> F32:
    """Add noise of a random colour.

    It is 8 to 45 dB below the voice. In silence its level is -60 to -35 dB of full scale.
    """
    spectrum = np.fft.rfft(rng.standard_normal(len(samples)))
    frequency = np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ), 20.0)
    noise = np.fft.irfft(spectrum * frequency ** -rng.uniform(0.0, 1.1), len(samples))
    noise /= max(1e-9, float(np.sqrt(np.mean(noise**2))))
    power = _power(samples)
    level_db = 10 * np.log10(power) - rng.uniform(8, 45) if power > 0 else rng.uniform(-60, -35)
    return np.asarray(samples + noise * 10 ** (level_db / 20), np.float32)


def change_response(samples: F32, rng: np.random.Generator) -> F32:
    """Change the spectrum as another microphone would: by a smooth random response within +-10 dB."""
    frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
    knots_hz = np.array([60, 250, 700, 1800, 3500, 8000], dtype=np.float64)
    gains_db = rng.normal(0, 4, len(knots_hz)).clip(-10, 10)
    gain = np.interp(np.log(np.maximum(frequency, 30)), np.log(knots_hz), gains_db)
    return np.asarray(np.fft.irfft(np.fft.rfft(samples) * 10 ** (gain / 20), len(samples)), np.float32)


def limit_band(samples: F32, rng: np.random.Generator) -> F32:
    """Limit the voice to a frequency band; the narrowest is that of a telephone."""
    low_hz, high_hz = rng.uniform(50, 320), rng.uniform(3200, 7500)
    sos = butter(2, [low_hz, high_hz], btype="bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return np.asarray(sosfilt(sos, samples), dtype=np.float32)


def quantise_mu_law(samples: F32, rng: np.random.Generator) -> F32:
    """Quantise the samples as a mu-law codec does."""
    levels = float(rng.choice([63, 127, 255]))
    curved = np.sign(samples) * np.log1p(255 * np.abs(samples).clip(0, 1)) / np.log(256)
    coarse = np.round(curved * levels / 2) / (levels / 2)
    return np.asarray(np.sign(coarse) * np.expm1(np.abs(coarse) * np.log(256)) / 255, np.float32)


# Effects in their order, each with its probability
_EFFECTS = (
    (change_response, 0.6),
    (reverberate, 0.4),
    (limit_band, 0.2),
    (add_noise, 0.55),
    (quantise_mu_law, 0.08),
)


def degrade(samples: F32, rng: np.random.Generator) -> I16:
    """Apply random effects and a random loudness.

    samples: (n,) float32 at 16 kHz. Returns (n,) int16 at 16 kHz.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    changed = samples / peak * 0.5 if peak > 0 else samples
    for effect, probability in _EFFECTS:
        if rng.random() < probability:
            changed = effect(changed, rng)
    peak = float(np.abs(changed).max(initial=0.0))
    if peak > 0 and _power(samples) > 0:
        changed = changed / peak * 10 ** (-rng.uniform(0.5, 24) / 20)
    return np.asarray((changed * 32767).clip(-32768, 32767), dtype=np.int16)
