"""LearnedMetrics of others: there where their weights are, and told where these do not fit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import BackboneError
from model.evaluation.cases import FaceCrops, Reading
from model.evaluation.learned_metrics import LearnedMetrics, load_learned_metrics
from model.network.syncnet_v2 import SyncNetV2

RNG = np.random.default_rng(0)
VOICE = RNG.normal(0, 3000, 16_000).astype(np.int16)


def face_crops(wide: np.ndarray | None) -> FaceCrops:
    crops = RNG.integers(0, 255, (8, 64, 64, 3)).astype(np.uint8)
    return FaceCrops(crops, Reading(np.zeros((8, 2), np.float32), np.zeros((8, 4, 2), np.float32)), wide)


def test_nobody_judges_where_nothing_is_named() -> None:
    assert load_learned_metrics() == LearnedMetrics()


def test_lpips_grows_with_what_differs() -> None:
    judge = load_learned_metrics(lpips="random").lpips
    assert judge is not None
    crops = face_crops(None).crops
    slightly = np.clip(crops.astype(int) + RNG.integers(-9, 10, crops.shape), 0, 255).astype(np.uint8)
    assert judge(crops, crops) == pytest.approx(0, abs=1e-6)
    assert 0 < judge(slightly, crops) < judge(crops[::-1].copy(), crops)


def test_syncnet_scores_faces_that_were_cut_for_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(SyncNetV2().state_dict(), tmp_path / "syncnet_v2.model")
    judge = load_learned_metrics(syncnet=tmp_path / "syncnet_v2.model").sync
    assert judge is not None
    distance, confidence = judge(face_crops(RNG.integers(0, 255, (8, 224, 224, 3)).astype(np.uint8)), VOICE, 25.0)
    assert distance > 0 and math.isfinite(confidence)
    assert all(math.isnan(score) for score in judge(face_crops(None), VOICE, 25.0))
    short = face_crops(np.zeros((4, 224, 224, 3), np.uint8))
    assert all(math.isnan(score) for score in judge(short, VOICE, 25.0))


@pytest.mark.parametrize("judge", ["lpips", "inception", "syncnet"])
def test_weights_that_are_not_there_are_told(judge: str, tmp_path: Path) -> None:
    path = tmp_path / "nothing.pth"
    with pytest.raises(BackboneError, match=r"nothing\.pth"):
        load_learned_metrics(**{judge: str(path) if judge == "lpips" else path})  # type: ignore[arg-type]
