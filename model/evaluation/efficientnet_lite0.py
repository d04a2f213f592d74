"""EfficientNet-Lite0 without its classifier (Tan and Le 2019, arXiv 1905.11946; "Lite": no squeeze-and-excitation,
ReLU6 instead of swish).

It was trained with TensorFlow, which pads more on the right and at the bottom where a stride leaves a rest.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

# Of each group of blocks: kernel, stride of the first block, expansion, channels, number of blocks.
_GROUPS = (
    *((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3)),
    *((5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)),
)
_STEM, _FEATURES = 32, 1280
_EPSILON = 1e-3  # of the batch norms, as trained


class EfficientNetLite0(nn.Module):
    """Features of pictures, averaged over places. (N,3,S,S) RGB in -1..1, S preferably SIDE_PX -> (N,1280)."""

    SIDE_PX: ClassVar = 224  # of the pictures that it was trained on

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _SameConv(3, _STEM, 3, 2)
        self.bn0 = nn.BatchNorm2d(_STEM, eps=_EPSILON)
        blocks, channels = [], _STEM
        for kernel, stride, expansion, width, count in _GROUPS:
            for number in range(count):
                blocks.append(_Block(channels, width, expansion, kernel, 1 if number else stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = nn.Conv2d(channels, _FEATURES, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_FEATURES, eps=_EPSILON)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the features."""
        features = self.blocks(F.relu6(self.bn0(self.conv_stem(pictures))))
        return F.relu6(self.bn1(self.conv_head(features))).mean(dim=(2, 3))


class _Block(nn.Module):
    """Inverted residual block: expand, filter each channel, project; added to its input if the shapes are equal."""

    def __init__(self, channels: int, width: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = channels * expansion
        if expansion > 1:
            self.expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self.depthwise_conv = _SameConv(wide, wide, kernel, stride, groups=wide)
        self.bn1 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self.project_conv = nn.Conv2d(wide, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=_EPSILON)
        self._expands, self._adds = expansion > 1, stride == 1 and channels == width

    def forward(self, given: Tensor) -> Tensor:
        """Return the features of a batch."""
        features = F.relu6(self.bn0(self.expand_conv(given))) if self._expands else given
        features = F.relu6(self.bn1(self.depthwise_conv(features)))
        projected: Tensor = self.bn2(self.project_conv(features))
        return projected + given if self._adds else projected


class _SameConv(nn.Conv2d):
    """Convolution without bias of squares, padded as TensorFlow does for "same"."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels, width, kernel, stride, groups=groups, bias=False)
        self._kernel, self._stride = kernel, stride

    def forward(self, given: Tensor) -> Tensor:
        """Return the convolution of a batch, ceil(S / stride) wide."""
        side = given.shape[-1]
        missing = max((-(-side // self._stride) - 1) * self._stride + self._kernel - side, 0)
        before, after = missing // 2, missing - missing // 2
        return super().forward(F.pad(given, (before, after, before, after)))
