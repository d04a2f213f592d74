"""The real encoder: recordings of any length and kind."""

from __future__ import annotations

import numpy as np
import pytest

from model.speech_encoder.port import FEATURES, SpeechEncoder, feature_count

RATE = 16_000


def _noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Return noise whose loudness rises and falls three times a second, as that of speech does."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE)) / RATE
    return np.asarray(rng.standard_normal(len(time_s)) * 4000 * np.sin(3 * np.pi * time_s) ** 2, np.int16)


def _encode(encoder: SpeechEncoder, samples: np.ndarray) -> np.ndarray:
    return np.concatenate(list(encoder.encode(samples)))


@pytest.mark.parametrize("seconds", [0.01, 0.2, 7.99, 8.0, 8.01, 17.3])
def test_every_length_has_its_steps(encoder: SpeechEncoder, seconds: float) -> None:
    samples = _noise(seconds)
    assert _encode(encoder, samples).shape == (feature_count(len(samples)), FEATURES)


STRANGE = {
    "silence": np.zeros(RATE, np.int16),
    "not a number": np.full(RATE, np.nan, np.float32),
    "infinite": np.full(RATE, np.inf, np.float32),
    "clicks": np.where(np.arange(RATE) % 4000 == 0, 32767, 0).astype(np.int16),
    "overdriven": np.where(np.arange(RATE) % 60 < 30, 32767, -32768).astype(np.int16),
    "constant": np.full(RATE, 12_000, np.int16),
    "a chord": sum(6000 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE) for hz in (220, 277, 330)).astype(np.int16),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_sounds_have_finite_features(encoder: SpeechEncoder, name: str) -> None:
    features = _encode(encoder, STRANGE[name])
    assert np.isfinite(features).all() and features.shape == (50, FEATURES)


def test_a_moment_does_not_depend_on_the_length_of_the_recording(encoder: SpeechEncoder) -> None:
    samples = _noise(31.0)
    whole, part = _encode(encoder, samples), _encode(encoder, samples[: 20 * RATE])
    # A chunk that is whole in both gives the same features; the last seconds of the shorter one have another future.
    np.testing.assert_array_equal(whole[: 16 * 50], part[: 16 * 50])
    assert not np.array_equal(whole[16 * 50 : 20 * 50], part[16 * 50 :])


def test_features_follow_the_sound(encoder: SpeechEncoder) -> None:
    one, same, other = (_encode(encoder, _noise(2.0, seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    silence = _encode(encoder, np.zeros(2 * RATE, np.int16))
    assert np.abs(one - silence).mean() > 2 * np.abs(one - other).mean() > 0


def test_floats_and_whole_numbers_are_the_same_sound(encoder: SpeechEncoder) -> None:
    samples = _noise(1.0)
    as_float = samples.astype(np.float32) / 32768
    np.testing.assert_array_equal(_encode(encoder, samples), _encode(encoder, as_float))
