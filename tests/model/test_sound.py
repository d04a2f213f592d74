"""What a network hears of a recording: mels or the features of a speech encoder."""

from __future__ import annotations

import numpy as np

from model.audio import AROUND_FRAME, mel_windows
from model.sound import EncoderReader, MelReader, silent_window
from model.speech_encoder.port import FEATURES, WINDOW_STEPS, feature_windows
from tests.model.level_encoder import LevelEncoder


def test_mels_are_the_windows_of_the_mel_front_end() -> None:
    samples = np.random.default_rng(0).integers(-5000, 5000, 16_000).astype(np.int16)
    times_s, reader = np.arange(10) / 25, MelReader(AROUND_FRAME)
    windows = reader.read(samples).windows(times_s)
    assert windows.shape[1:] == reader.shape == (80, 32)
    np.testing.assert_array_equal(windows, mel_windows(samples, times_s, AROUND_FRAME))


def test_features_are_kept_in_half_precision_and_cut_into_windows() -> None:
    samples = np.linspace(0, 3000, 16_000).astype(np.int16)
    reader, times_s = EncoderReader(LevelEncoder()), np.arange(10) / 25
    windows = reader.read(samples).windows(times_s)
    assert windows.shape[1:] == reader.shape == (WINDOW_STEPS, FEATURES)
    kept = np.concatenate(list(LevelEncoder().encode(samples))).astype(np.float16)
    np.testing.assert_array_equal(windows, feature_windows(kept, times_s))


def test_the_silent_window_is_that_of_digital_silence() -> None:
    np.testing.assert_array_equal(silent_window(MelReader(AROUND_FRAME)), np.full((80, 32), np.float32(-4)))
    np.testing.assert_array_equal(silent_window(EncoderReader(LevelEncoder())), np.zeros((WINDOW_STEPS, FEATURES)))
