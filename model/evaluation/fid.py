"""FID: the distance between the distributions of two sets of pictures (Heusel et al. 2017, arXiv 1706.08500).

The features come from torchvision's Inception v3 with the weights of a file. Published figures use another port of the
network and whole frames, so figures can be compared only inside one table.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.arrays import F64, U8
from model.training.perceptual import declare_torchvision_operators, load_whole

_SIDE_PX = 299
_BATCH = 16


def frechet_distance(first: F64, second: F64) -> float:
    """Return the Frechet distance of two sets of features (N, D) and (M, D), not a number if a set is too small.

    Each set is taken as a normal distribution with its mean and covariance.
    """
    if min(len(first), len(second)) < 2:
        return float("nan")
    gap = first.mean(axis=0) - second.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (first, second)]
    # The trace of the square root of the product of the covariances; its eigenvalues are real and not negative, apart
    # from rounding.
    eigenvalues = scipy.linalg.eigvals(covariances[0] @ covariances[1]).real
    root = float(np.sqrt(np.maximum(eigenvalues, 0)).sum())
    return max(0.0, float(gap @ gap + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * root))


def inception_features(path: Path) -> Callable[[U8], F64]:
    """Return a function from crops (N, S, S, 3) uint8 RGB to features (N, 2048) float64.

    path: the file of weights. Raises BackboneError if it is missing or does not fit.
    """
    network = build_inception()
    load_whole(network, path, "Inception v3")
    network.fc = nn.Identity()
    network.eval().requires_grad_(False)

    @torch.no_grad()
    def features(crops: U8) -> F64:
        parts = [network(_pixels(crops[at : at + _BATCH])).double() for at in range(0, len(crops), _BATCH)]
        return np.asarray(torch.cat(parts).numpy())

    return features


def build_inception() -> nn.Module:
    """Build torchvision's Inception v3 with its auxiliary head, because the published file holds its weights too."""
    declare_torchvision_operators()
    from torchvision.models import inception_v3  # late: it imports all of torchvision

    network: nn.Module = inception_v3(weights=None, aux_logits=True, init_weights=False, transform_input=False)
    return network


def _pixels(crops: U8) -> Tensor:
    """Return crops (N, S, S, 3) uint8 as (N, 3, 299, 299) in -1..1."""
    pixels = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
    resized = F.interpolate(pixels, (_SIDE_PX, _SIDE_PX), mode="bilinear", antialias=True, align_corners=False)
    return resized / 127.5 - 1
