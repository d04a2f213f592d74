import wave
from pathlib import Path

import numpy as np
import pytest

from model.audio import AROUND_FRAME, MEL_RATE_HZ, SILENCE, STARTING_AT_FRAME, MelWindow, mel_spectrogram, mel_windows


def _noise(count: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(count) * 0.1).astype(np.float32)


def test_equals_the_published_front_end(shared_dir: Path) -> None:
    with wave.open(str(shared_dir / "parity/speech_16k.wav")) as recording:
        samples = np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
    expected = np.load(shared_dir / "parity/speech_16k_mel.npy")
    for given in (samples, samples.astype(np.float32) / 32768):
        got = mel_spectrogram(given)
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() < 1e-3


@pytest.mark.parametrize("count", [0, 1, 2, 199, 200, 399, 401, 16_000, 16_001])
def test_any_length_gives_finite_columns(count: int) -> None:
    mel = mel_spectrogram(_noise(count))
    assert mel.shape == (80, 1 + count // 200 if count else 0)
    assert np.isfinite(mel).all()


def test_windows_from_a_file_equal_the_whole_spectrogram(tmp_path: Path) -> None:
    samples = (_noise(5 * 16_000) * 32767).astype(np.int16)
    samples.tofile(tmp_path / "audio.raw")
    on_disk = np.memmap(tmp_path / "audio.raw", np.int16, "r")
    whole = mel_spectrogram(samples)
    times_s = np.arange(10, 115) / 25
    for window in (AROUND_FRAME, STARTING_AT_FRAME, MelWindow(columns=7, offset_columns=-3)):
        got = mel_windows(on_disk, times_s, window)
        for k, time_s in enumerate(times_s):
            first = int(np.floor(time_s * MEL_RATE_HZ + 1e-6)) + window.offset_columns
            wanted = whole[:, first : first + window.columns]
            np.testing.assert_allclose(got[k], wanted, rtol=0, atol=1e-6)  # a product of another size may round


def test_times_may_come_in_any_order_and_twice() -> None:
    samples = _noise(48_000)
    times_s = np.array([2.0, 0.04, 2.0, 1.0])
    got = mel_windows(samples, times_s, AROUND_FRAME)
    for k, time_s in enumerate(times_s):
        alone = mel_windows(samples, np.array([time_s]), AROUND_FRAME)[0]
        np.testing.assert_allclose(got[k], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("window", "frame", "first_column"),
    [
        *((AROUND_FRAME, frame, first) for frame, first in ((0, -12), (5, 4), (1, -9))),
        *((STARTING_AT_FRAME, frame, first) for frame, first in ((5, 16), (1, 3))),
    ],
)
def test_a_click_is_at_its_column(window: MelWindow, frame: int, first_column: int) -> None:
    column = 20
    samples = np.zeros(16_000, np.float32)
    samples[column * 200] = 0.9
    mel = mel_windows(samples, np.array([frame / 25]), window)[0]
    loudest = int(mel.sum(axis=0).argmax())
    if first_column <= column < first_column + window.columns:
        assert loudest + first_column == column
    else:
        assert mel[:, : column - first_column - 2].max() == SILENCE


@pytest.mark.parametrize("time_s", [-5.0, 60.0])
def test_windows_hold_silence_beyond_the_ends(time_s: float) -> None:
    assert (mel_windows(_noise(16_000), np.array([time_s]), AROUND_FRAME) == SILENCE).all()
    assert (mel_windows(_noise(0), np.array([time_s]), AROUND_FRAME) == SILENCE).all()
    assert (mel_spectrogram(np.zeros(1600, np.float32)) == SILENCE).all()


def test_broken_samples_stay_finite() -> None:
    samples = _noise(8000)
    samples[100:200], samples[300], samples[400] = np.nan, np.inf, -1e30
    mel = mel_spectrogram(samples)
    assert np.isfinite(mel).all()
    assert np.abs(mel).max() <= 4
