"""The MFCC of SyncNet, and the scores of distances whose minimum is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.evaluation.lse import at_25_fps, mfcc, scores, sync_distances
from model.network.syncnet_v2 import SyncNetV2

# Rows 0, 10 and 23 of what python_speech_features 0.6 gives for the chirp below at its defaults.
# fmt: off
PUBLISHED = np.array([
    [10.8467, 23.4807, 20.2341, 15.2685, 14.475, 10.0543, 6.9262, 3.9035, -1.9092, -4.2098, -6.6136, -8.1947, -9.2387],
    [17.1313, 28.2894, 22.4131, 19.6837, 16.1363, 11.0686, 5.8062, -0.3932, -5.9926, -10.579, -12.9418, -14.809,
     -14.8641],
    [9.928, 23.617, 23.9714, 12.8035, 11.9935, 4.2405, -1.0483, -3.5949, -8.7901, -11.8319, -12.8093, -13.2273,
     -10.4103],
])
# fmt: on
MIDDLE = 18.0  # a middling log energy


def test_mfcc_are_the_published_ones() -> None:
    at = np.arange(4000)
    chirp = (8000 * np.sin(at * 0.05 + 3e-6 * at**2) * np.hanning(4000)).astype(np.int16)
    found = mfcc(chirp)
    assert found.shape == (24, 13)
    np.testing.assert_allclose(found[[0, 10, 23]], PUBLISHED, atol=1e-3)


@pytest.mark.parametrize("count", [1, 399, 400, 401, 16_000])
def test_any_sound_gives_finite_numbers(count: int) -> None:
    assert np.isfinite(mfcc(np.zeros(count, np.int16))).all()


def test_scores_are_the_least_distance_and_the_median_minus_it() -> None:
    distances = np.full(31, 11.0)
    distances[15] = 7.0
    assert scores(distances) == (7.0, 4.0)
    assert scores(np.full(31, 9.0)) == (9.0, 0.0)


class Echo(SyncNetV2):
    """Embed a mouth by its brightness and a sound by its log energy, both as one number among zeros."""

    def embed_lip(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(frames.mean(dim=(1, 2, 3, 4))[:, None] / 10 - MIDDLE, (0, 3))

    def embed_audio(self, mfcc: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(mfcc[:, 0, 0].mean(dim=1, keepdim=True) - MIDDLE, (0, 3))


@pytest.mark.parametrize("lag", [-6, 0, 4])
def test_the_offset_of_sound_and_lips_is_found(lag: int) -> None:
    rng, frames = np.random.default_rng(0), 100
    level = np.exp(rng.normal(0, 1, frames))
    noise = rng.normal(0, 1000, frames * 640)
    samples = np.clip(noise * np.repeat(level, 640), -32768, 32767).astype(np.int16)
    energy = mfcc(samples)[: frames * 4 - 4, 0].reshape(-1, 4).mean(axis=1)
    bright = np.roll(10 * energy, lag).round().astype(np.uint8)  # lips that come `lag` frames late
    faces = np.repeat(bright, 12).reshape(-1, 2, 2, 3)
    found = sync_distances(Echo(), faces, samples)
    assert found.shape == (31,)
    assert found.argmin() - 15 == -lag


def test_clips_that_are_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        sync_distances(Echo(), np.zeros((5, 2, 2, 3), np.uint8), np.zeros(9000, np.int16))


@pytest.mark.parametrize(("fps", "shown"), [(25.0, [0, 1, 2, 3]), (50.0, [0, 2, 4, 6]), (12.5, [0, 0, 1, 2])])
def test_other_rates_become_25(fps: float, shown: list[int]) -> None:
    frames = np.arange(round(fps)).astype(np.uint8)
    assert at_25_fps(frames, fps)[:4].tolist() == shown
