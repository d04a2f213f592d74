"""LPIPS, the learned perceptual distance (Zhang et al. 2018, https://arxiv.org/abs/1801.03924).

The `lpips` package brings its linear heads only. The backbone comes from a file or, if the recipe asks for it, has
random weights. Training and evaluation use this module; serving never imports it.

A CPU-only torch and the torchvision of PyPI do not fit together: torchvision's compiled operators fail to load, and
then its import fails at two operators that it expects. LPIPS needs only `torchvision.models`, and to import that it is
enough to declare the two operators.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from model.checkpoint import load_plain
from model.errors import BackboneError, CheckpointError

_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_SEED = 0  # of a random backbone, so that all runs measure the same distance
_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]


def declare_torchvision_operators() -> None:
    """Declare those operators that `import torchvision` needs and this installation lacks."""
    for name, schema in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            _LIBRARY.define(name + schema)  # type: ignore[no-untyped-call]


class Lpips(nn.Module):
    """Mean perceptual distance of two batches. Two (N,3,H,W) RGB in 0..1 -> scalar.

    distance: the network of the `lpips` package, which takes two pictures in -1..1.
    """

    def __init__(self, distance: nn.Module) -> None:
        super().__init__()
        self.distance = distance
        self.requires_grad_(False).eval()

    def forward(self, drawn: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean distance of two batches."""
        distance: Tensor = self.distance(drawn * 2 - 1, wanted * 2 - 1).mean()
        return distance


def load_lpips(backbone: str) -> Lpips:
    """Build LPIPS on AlexNet.

    backbone: "random", or the file of torchvision's AlexNet weights (a state dict). Raises BackboneError for a file
    that is missing or does not fit.
    """
    declare_torchvision_operators()
    import lpips  # only now, because it imports torchvision

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision by names that torchvision has deprecated
        torch.manual_seed(_SEED)
        distance = lpips.LPIPS(net="alex", pretrained=True, pnet_rand=True, verbose=False)
    if backbone != "random":
        _load_backbone(distance.net, Path(backbone))
    return Lpips(distance)


def _load_backbone(slices: nn.Module, path: Path) -> None:
    """Copy the `features` of a torchvision classifier into the backbone; each layer has the same number in both."""
    if not path.is_file():
        raise BackboneError(f"LPIPS needs a backbone: put torchvision's weights at {path}, or set backbone to 'random'")
    state, wanted = _read_table(path), slices.state_dict()
    layers = {name: "features." + name.split(".", 1)[1] for name in wanted}  # slice1.0.weight -> features.0.weight
    missing = sorted(source for source in layers.values() if source not in state)
    if missing:
        raise BackboneError(f"{path} does not fit the LPIPS backbone: {missing[0]} is missing")
    for name, source in layers.items():
        _check_shape(path, "the LPIPS backbone", source, state[source], wanted[name])
    slices.load_state_dict({name: state[source] for name, source in layers.items()})


def load_whole(network: nn.Module, path: Path, name: str) -> None:
    """Load all weights of a network from a file. Raises BackboneError naming the first weight that does not fit."""
    if not path.is_file():
        raise BackboneError(f"{name} needs its weights: there is no file {path}")
    found, wanted = _read_table(path), network.state_dict()
    for key in sorted(wanted.keys() | found.keys()):
        if key not in found or key not in wanted:
            raise BackboneError(f"{path} does not fit {name}: {key} is {'missing' if key in wanted else 'too much'}")
        _check_shape(path, name, key, found[key], wanted[key])
    network.load_state_dict(found)


def _read_table(path: Path) -> dict[str, Tensor]:
    """Read a file of named weights. Raises BackboneError for any other content."""
    try:
        found = load_plain(path)
    except CheckpointError as error:
        raise BackboneError(f"{path} is not a file of plain weights") from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise BackboneError(f"{path} holds no table of weights")
    return found


def _check_shape(path: Path, network: str, name: str, found: Tensor, wanted: Tensor) -> None:
    if found.shape != wanted.shape:
        shapes = tuple(found.shape), tuple(wanted.shape)
        raise BackboneError(f"{path} does not fit {network}: {name} has shape {shapes[0]}, not {shapes[1]}")
