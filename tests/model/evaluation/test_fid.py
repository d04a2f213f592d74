"""The distance of sets of numbers whose answer is known, and weights that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import BackboneError
from model.evaluation.fid import build_inception, frechet_distance, inception_features


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
