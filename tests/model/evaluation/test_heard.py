"""What is heard of the lips: compared with the film at the best lag, beside a regression from mel bands."""

from __future__ import annotations

import numpy as np
import pytest

from model.articulation import CHANNELS, Channel
from model.evaluation.heard import FilmedTalk, baseline, best_r, compare_with_heard, without_drift
from tests.model.evaluation.talks import talk

RNG = np.random.default_rng(0)


def mouth_of(lips: np.ndarray) -> np.ndarray:
    return np.stack([np.ptp(lips[:, :, 1], axis=1), np.ptp(lips[:, :, 0], axis=1)], axis=1)


def filmed(speaker: int) -> FilmedTalk:
    one = talk(speaker)
    return FilmedTalk(one.speaker, mouth_of(one.lips), one.fps, one.voice)


def test_lag_and_drift_do_not_matter() -> None:
    curve = RNG.normal(size=100)
    assert best_r(curve, np.roll(curve, 3) + np.linspace(0, 9, 100), 25.0) > 0.85
    assert best_r(curve, np.roll(curve, 20), 25.0) < 0.5
    assert np.isnan(best_r(curve, np.full(100, np.nan), 25.0))


def test_unknown_frames_stay_unknown_and_change_no_other() -> None:
    curves = np.full((50, 1), 3.0)
    curves[10:20] = np.nan
    without = without_drift(curves, 25.0)
    assert np.isnan(without[10:20]).all()
    np.testing.assert_allclose(np.delete(without, np.s_[10:20], axis=0), 0.0, atol=1e-9)


def test_heard_is_compared_with_film_and_with_drawing() -> None:
    heard = np.zeros((80, CHANNELS), np.float32)
    mouth, drawn = RNG.normal(size=(80, 2)), RNG.normal(size=(80, 2))
    heard[:, Channel.APERTURE], heard[:, Channel.WIDTH] = mouth[:, 0], drawn[:, 1]
    found = compare_with_heard(heard, mouth, drawn, 25.0)
    assert found["heard_aperture_r"] == pytest.approx(1.0) == found["drawn_heard_width_r"]
    assert found["heard_width_r"] < 0.5 and found["drawn_heard_aperture_r"] < 0.5


def test_the_baseline_hears_speakers_it_was_not_fitted_on() -> None:
    found = baseline([filmed(speaker) for speaker in range(6)])
    assert np.median([values["mel_aperture_r"] for values in found]) > 0.6
    silent = [FilmedTalk(one.speaker, one.mouth, one.fps, one.voice[::-1]) for one in map(filmed, range(6))]
    assert np.median([values["mel_aperture_r"] for values in baseline(silent)]) < 0.5


def test_there_is_no_baseline_for_few_speakers() -> None:
    assert baseline([filmed(0), filmed(1), filmed(0)]) == [{}, {}, {}]
    assert baseline([]) == []
