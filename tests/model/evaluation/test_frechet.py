"""The distance of sets of numbers whose answer is known, and weights that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from model.errors import BackboneError
from model.evaluation.efficientnet_lite0 import EfficientNetLite0
from model.evaluation.frechet import (
    EFFICIENTNET_WEIGHTS,
    build_inception,
    efficientnet_features,
    frechet_distance,
    inception_features,
)


def normal(mean: float, deviation: float, count: int = 20_000) -> np.ndarray:
    return np.random.default_rng(0).normal(mean, deviation, (count, 3))


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [((0, 1), (0, 1), 0.0), ((0, 1), (2, 1), 12.0), ((0, 1), (0, 3), 12.0), ((1, 2), (2, 1), 6.0)],
)
def test_normal_sets_are_as_far_apart_as_the_formula_says(first, second, wanted: float) -> None:
    assert frechet_distance(normal(*first), normal(*second)) == pytest.approx(wanted, abs=0.1, rel=0.02)


def test_few_pictures_give_no_distance_or_a_finite_one() -> None:
    few = normal(0, 1, 3).astype(np.float64)
    assert np.isnan(frechet_distance(few[:1], few))
    assert np.isfinite(frechet_distance(few, few + 1.0))


def test_features_need_weights_that_fit(tmp_path: Path) -> None:
    path = tmp_path / "inception.pth"
    with pytest.raises(BackboneError, match="there is no file"):
        inception_features(path)
    path.write_bytes(b"no weights")
    with pytest.raises(BackboneError, match="not a file of plain weights"):
        inception_features(path)
    state = build_inception().state_dict()
    torch.save({name: value for name, value in state.items() if name != "fc.bias"}, path)
    with pytest.raises(BackboneError, match=r"fc\.bias is missing"):
        inception_features(path)
    torch.save({**state, "fc.bias": torch.zeros(7)}, path)
    with pytest.raises(BackboneError, match=r"fc\.bias has shape \(7,\), not \(1000,\)"):
        inception_features(path)


def test_features_of_equal_pictures_are_equal(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(build_inception().state_dict(), tmp_path / "inception.pth")
    crops = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3)).astype(np.uint8)
    crops[2] = crops[0]
    features = inception_features(tmp_path / "inception.pth")(crops)
    assert features.shape == (3, 2048)
    scale = np.abs(features).max()
    np.testing.assert_allclose(features[2], features[0], atol=1e-4 * scale)
    assert np.abs(features[1] - features[0]).max() > 0.01 * scale


@pytest.mark.parametrize("count", [20, 400])
def test_distance_is_that_of_the_formula_for_few_and_for_many_pictures(count: int) -> None:
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(40, 40))
    first, second = rng.normal(0, 1, (count, 40)), rng.normal(0.2, 1, (count + 9, 40)) @ mixing
    covariances = [np.cov(features, rowvar=False) for features in (first, second)]
    shared = np.sqrt(np.maximum(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0)).sum()
    gap = first.mean(axis=0) - second.mean(axis=0)
    wanted = gap @ gap + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * shared
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-4)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-8 * np.trace(covariances[0]))


def test_network_takes_any_square() -> None:
    torch.manual_seed(0)
    network = EfficientNetLite0().eval()
    with torch.no_grad():
        for side in (33, 64):
            assert network(torch.rand(1, 3, side, side)).shape == (1, 1280)


@pytest.mark.skipif(not EFFICIENTNET_WEIGHTS.is_installed, reason="the weights come with the extra [train]")
def test_trained_features_see_what_is_shown_rather_than_its_colours() -> None:
    cat, coffee = (picture[:300, 100:400] for picture in (data.chelsea(), data.coffee()))
    mirrored, darker = cat[:, ::-1], (cat * 0.8).astype(np.uint8)
    rows = efficientnet_features()(np.stack([cat, mirrored, darker, coffee]))
    near, dark, far = (np.linalg.norm(rows[0] - row) for row in rows[1:])
    assert rows.shape == (4, 1280) and max(near, dark) < 0.7 * far
