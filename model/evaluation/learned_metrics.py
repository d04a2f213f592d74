"""Judges that are networks of others: LPIPS, FID and SyncNet, each there where a file of its weights is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model.arrays import F64, I16, U8
from model.audio import SAMPLE_RATE_HZ
from model.evaluation.cases import Footage
from model.evaluation.fid import frechet_distance, inception_features
from model.evaluation.lse import LEAST_S, at_25_fps, scores, sync_distances
from model.network.syncnet_v2 import SyncNetV2
from model.training.perceptual import Lpips, load_lpips, load_whole
from model.training.tensors import to_faces

_LPIPS_BATCH = 16


@dataclass(frozen=True)
class Judges:
    """Ask what is given of them.

    lpips: drawn and filmed crops (T, S, S, 3) -> distance. sync: footage, voice, fps -> LSE-D, LSE-C. features: crops
    -> (T, D), of which `fid` compares two sets.
    """

    lpips: Callable[[U8, U8], float] | None = None
    sync: Callable[[Footage, I16, float], tuple[float, float]] | None = None
    features: Callable[[U8], F64] | None = None
    fid: Callable[[F64, F64], float] = frechet_distance


def load_judges(lpips: str | None = None, inception: Path | None = None, syncnet: Path | None = None) -> Judges:
    """Load the judges whose weights are named (lpips: a file, or "random"). Raises BackboneError."""
    return Judges(
        None if lpips is None else _lpips(load_lpips(lpips)),
        None if syncnet is None else _sync(syncnet),
        None if inception is None else inception_features(inception),
    )


def _lpips(network: Lpips) -> Callable[[U8, U8], float]:
    cpu = torch.device("cpu")

    @torch.no_grad()
    def distance(drawn: U8, filmed: U8) -> float:
        total = 0.0
        for at in range(0, len(drawn), _LPIPS_BATCH):
            pair = [to_faces(np.ascontiguousarray(one[at : at + _LPIPS_BATCH]), cpu) for one in (drawn, filmed)]
            total += float(network(*pair)) * len(pair[0])
        return total / len(drawn)

    return distance


def _sync(path: Path) -> Callable[[Footage, I16, float], tuple[float, float]]:
    network = SyncNetV2()
    load_whole(network, path, "SyncNet")
    network.eval().requires_grad_(False)

    def judge(footage: Footage, voice: I16, fps: float) -> tuple[float, float]:
        if footage.wide is None or min(len(footage.wide) / fps, len(voice) / SAMPLE_RATE_HZ) < LEAST_S:
            return float("nan"), float("nan")
        return scores(sync_distances(network, at_25_fps(footage.wide, fps), voice))

    return judge
