"""The silence gate on whole recordings in memory; tests/worker/media has the rest."""

from __future__ import annotations

import numpy as np

from model.silence_gate import STEP, apply_gain, gate_gain, gated, levels_db


def _speech_between_pauses() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 20, 48_000)
    noise[16_000:32_000] += 9000 * np.sin(np.arange(16_000) * 0.09)
    return noise.astype(np.int16)


def test_speech_stays_and_pauses_are_silent() -> None:
    samples = _speech_between_pauses()
    heard = gated(samples)
    np.testing.assert_array_equal(heard[16_000:32_000], samples[16_000:32_000])
    assert not heard[:12_000].any() and not heard[38_000:].any()


def test_an_empty_recording_stays_empty() -> None:
    empty = np.zeros(0, np.int16)
    assert levels_db(empty).shape == gate_gain(levels_db(empty)).shape == (0,)
    assert gated(empty).shape == (0,) and gated(empty).dtype == np.int16


def test_parts_are_gated_as_the_whole() -> None:
    samples = _speech_between_pauses()
    gain = gate_gain(levels_db(samples))
    parts = [apply_gain(samples[k * STEP : (k + 50) * STEP], gain, k) for k in range(0, 300, 50)]
    np.testing.assert_array_equal(np.concatenate(parts), gated(samples))
