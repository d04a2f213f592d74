"""Learned metrics: available if their weights are given, and refused if the weights do not fit."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import BackboneError
from model.evaluation.cases import FaceCrops, Reading
from model.evaluation.frechet import EFFICIENTNET_WEIGHTS
from model.evaluation.learned_metrics import LearnedMetrics, load_learned_metrics
from model.network.syncnet_v2 import SyncNetV2

RNG = np.random.default_rng(0)
VOICE = RNG.normal(0, 3000, 16_000).astype(np.int16)


def face_crops(wide: np.ndarray | None) -> FaceCrops:
    crops = RNG.integers(0, 255, (8, 64, 64, 3)).astype(np.uint8)
    return FaceCrops(crops, Reading(np.zeros((8, 2), np.float32), np.zeros((8, 4, 2), np.float32)), wide)


def test_without_weights_there_is_no_metric() -> None:
    found = load_learned_metrics()
    assert replace(found, features=None, lip_voice=None) == LearnedMetrics()
    assert (found.features is not None) == EFFICIENTNET_WEIGHTS.is_installed


def test_lpips_grows_with_what_differs() -> None:
    learned = load_learned_metrics(lpips="random")
    metric = learned.lpips
    assert metric is not None and learned.backbone == "random"
    crops = face_crops(None).crops
    slightly = np.clip(crops.astype(int) + RNG.integers(-9, 10, crops.shape), 0, 255).astype(np.uint8)
    assert metric(crops, crops) == 0
    assert 0 < metric(slightly, crops) < metric(crops[::-1].copy(), crops)


def test_syncnet_scores_faces_that_were_cut_for_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(SyncNetV2().state_dict(), tmp_path / "syncnet_v2.model")
    metric = load_learned_metrics(syncnet=tmp_path / "syncnet_v2.model").sync
    assert metric is not None
    distance, confidence = metric(face_crops(RNG.integers(0, 255, (8, 224, 224, 3)).astype(np.uint8)), VOICE, 25.0)
    assert distance > 0 and math.isfinite(confidence)
    assert all(math.isnan(score) for score in metric(face_crops(None), VOICE, 25.0))
    short = face_crops(np.zeros((4, 224, 224, 3), np.uint8))
    assert all(math.isnan(score) for score in metric(short, VOICE, 25.0))


@pytest.mark.parametrize("metric", ["lpips", "inception", "syncnet"])
def test_missing_weights_are_named(metric: str, tmp_path: Path) -> None:
    path = tmp_path / "nothing.pth"
    with pytest.raises(BackboneError, match=r"nothing\.pth"):
        load_learned_metrics(**{metric: str(path) if metric == "lpips" else path})  # type: ignore[arg-type]
