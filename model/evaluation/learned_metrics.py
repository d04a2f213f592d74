"""Metrics that need a trained network: LPIPS, FID and SyncNet. Each is available if a file of its weights is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model.arrays import F64, I16, U8
from model.audio import SAMPLE_RATE_HZ
from model.evaluation.cases import FaceCrops
from model.evaluation.fid import frechet_distance, inception_features
from model.evaluation.lse import LEAST_S, at_25_fps, scores, sync_distances
from model.network.syncnet_v2 import SyncNetV2
from model.training.perceptual import Lpips, load_lpips, load_whole
from model.training.tensors import to_faces

_LPIPS_BATCH = 16


@dataclass(frozen=True)
class LearnedMetrics:
    """Metrics that need a trained network, None for those without weights.

    lpips: drawn and filmed crops, both (T, S, S, 3) uint8 RGB -> distance. sync: face crops, voice, fps -> LSE-D and
    LSE-C. features: crops (T, S, S, 3) -> (T, D). fid: distance between two sets of features.
    """

    lpips: Callable[[U8, U8], float] | None = None
    sync: Callable[[FaceCrops, I16, float], tuple[float, float]] | None = None
    features: Callable[[U8], F64] | None = None
    fid: Callable[[F64, F64], float] = frechet_distance


def load_learned_metrics(
    lpips: str | None = None, inception: Path | None = None, syncnet: Path | None = None
) -> LearnedMetrics:
    """Load the metrics whose weights are given.

    lpips: file of the backbone, or "random". inception: file of Inception v3, for FID. syncnet: file of SyncNet. Raises
    BackboneError.
    """
    return LearnedMetrics(
        None if lpips is None else _lpips(load_lpips(lpips)),
        None if syncnet is None else _sync(syncnet),
        None if inception is None else inception_features(inception),
    )


def _lpips(network: Lpips) -> Callable[[U8, U8], float]:
    """Return a function for the mean LPIPS of two sets of crops (T, S, S, 3)."""
    cpu = torch.device("cpu")

    @torch.no_grad()
    def distance(drawn: U8, filmed: U8) -> float:
        total = 0.0
        for at in range(0, len(drawn), _LPIPS_BATCH):
            pair = [to_faces(np.ascontiguousarray(one[at : at + _LPIPS_BATCH]), cpu) for one in (drawn, filmed)]
            total += float(network(*pair)) * len(pair[0])
        return total / len(drawn)

    return distance


def _sync(path: Path) -> Callable[[FaceCrops, I16, float], tuple[float, float]]:
    """Return a function for LSE-D and LSE-C, not a number for a clip that is too short. Raises BackboneError."""
    network = SyncNetV2()
    load_whole(network, path, "SyncNet")
    network.eval().requires_grad_(False)

    def lse(face: FaceCrops, voice: I16, fps: float) -> tuple[float, float]:
        if face.wide is None or min(len(face.wide) / fps, len(voice) / SAMPLE_RATE_HZ) < LEAST_S:
            return float("nan"), float("nan")
        return scores(sync_distances(network, at_25_fps(face.wide, fps), voice))

    return lse
