"""Metrics that need a trained network: LPIPS, a Frechet distance and SyncNet.

The first two are available if the packages that `make train` installs are there, SyncNet if a file of its weights is
given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model.arrays import F64, I16, U8
from model.audio import SAMPLE_RATE_HZ
from model.evaluation.cases import FaceCrops
from model.evaluation.frechet import (
    EFFICIENTNET_WEIGHTS,
    FED,
    FID,
    efficientnet_features,
    frechet_distance,
    inception_features,
)
from model.evaluation.lip_voice import LipVoiceModel, load_model
from model.evaluation.lse import LEAST_S, at_25_fps, scores, sync_distances
from model.network.syncnet_v2 import SyncNetV2
from model.training.backbones import load_whole
from model.training.perceptual import HED_VGG16, Lpips, backbone_name, hed_vgg16_is_installed, load_lpips
from model.training.tensors import to_faces

_LPIPS_BATCH = 16
_LPIPS_FRAMES = 24  # of each clip; VGG16 takes longer for a frame than all other metrics together


@dataclass(frozen=True)
class LearnedMetrics:
    """Metrics that need a trained network, None for those without weights.

    lpips: drawn and filmed crops, both (T, S, S, 3) uint8 RGB -> distance. sync: face crops, voice, fps -> LSE-D and
    LSE-C. features: crops (T, S, S, 3) -> (T, D). frechet: distance between two sets of features. frechet_name: "fed"
    or "fid". backbone: of LPIPS, as a table names it. lip_voice: model that tells how well lips fit a voice.
    """

    lpips: Callable[[U8, U8], float] | None = None
    sync: Callable[[FaceCrops, I16, float], tuple[float, float]] | None = None
    features: Callable[[U8], F64] | None = None
    frechet: Callable[[F64, F64], float] = frechet_distance
    frechet_name: str = FED
    backbone: str | None = None
    lip_voice: LipVoiceModel | None = None


def load_learned_metrics(
    lpips: str | None = None, inception: Path | None = None, syncnet: Path | None = None
) -> LearnedMetrics:
    """Load the metrics whose weights are given, and the Frechet distance FED if its package is installed.

    lpips: backbone as for `load_lpips`. inception: file of Inception v3, for FID instead of FED. syncnet: file of
    SyncNet. Raises BackboneError.
    """
    features: Callable[[U8], F64] | None = None
    if inception is not None:
        features = inception_features(inception)
    elif EFFICIENTNET_WEIGHTS.is_installed:
        features = efficientnet_features()
    return LearnedMetrics(
        None if lpips is None else _lpips(load_lpips(lpips)),
        None if syncnet is None else _sync(syncnet),
        features,
        frechet_name=FED if inception is None else FID,
        backbone=None if lpips is None else backbone_name(lpips),
        lip_voice=load_model(),
    )


def default_backbone() -> str | None:
    """Return the backbone of LPIPS that is used unless another is asked for, None if its packages are missing."""
    return HED_VGG16 if hed_vgg16_is_installed() else None


def _lpips(network: Lpips) -> Callable[[U8, U8], float]:
    """Return a function for the mean LPIPS of two sets of crops (T, S, S, 3), over evenly spaced frames."""
    cpu = torch.device("cpu")

    @torch.no_grad()
    def distance(drawn: U8, filmed: U8) -> float:
        if np.array_equal(drawn, filmed):
            return 0.0  # the film beside itself, which is in every evaluation
        chosen = np.unique(np.linspace(0, len(drawn) - 1, _LPIPS_FRAMES).round().astype(int))
        total = 0.0
        for at in range(0, len(chosen), _LPIPS_BATCH):
            part = chosen[at : at + _LPIPS_BATCH]
            pair = [to_faces(np.ascontiguousarray(one[part]), cpu) for one in (drawn, filmed)]
            total += float(network(*pair)) * len(part)
        return total / len(chosen)

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
