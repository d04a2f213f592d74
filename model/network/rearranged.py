"""The generator rearranged for a processor: the same function in steps that use wide registers.

A processor multiplies 16 channels at once. A convolution with fewer outputs leaves part of that unused, so neighbouring
pixels become its channels. The two-dimensional Fourier transform of a large grid becomes products along rows and
columns. The shares of a fast Fourier convolution stay together, so that nothing is cut apart and joined. Every step
reads channels-last memory as it lies. Training and GPUs keep the plain form.
"""

from __future__ import annotations

from math import gcd
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.attention import CBAM, ResidualCBAM, SpatialAttention
from model.network.encoders import FaceEncoder
from model.network.fourier import FourierConv, SpectralTransform
from model.network.generator import FinestStage, Generator

LANES: Final = 16  # channels that a processor multiplies at once
LARGE_GRID: Final = 24  # from this side on, a transform along rows and columns is the smaller product


@torch.no_grad()
def rearrange(network: Generator) -> None:
    """Rearrange a generator in place; its batch norms must be folded (model/network/folding.py)."""
    size = network.config.image_size
    for scale, stage in [*enumerate([*network.ups, network.fuse]), *enumerate(network.faces.stages, start=1)]:
        _simplify_blocks(stage, size >> scale)
    network.add_module("faces", PackedFaceEncoder(network.faces, size))
    network.ups[0] = ChannelsLastFinestStage(cast(FinestStage, network.ups[0]))
    network.add_module("head", PackedConv(network.head, size))
    network.displace.add_module("own", PackedConv(network.displace.own, size // 2))
    for alignment in network.alignments.values():
        for name, plain in list(alignment.named_children()):
            if isinstance(plain, FourierConv):
                alignment.add_module(name, JoinedFourierConv(plain))


def _simplify_blocks(stage: nn.Module, width: int) -> None:
    """Read rows of places at once in all blocks of a stage, and leave out poolings of single places."""
    for part in list(stage.modules()):
        if isinstance(part, CBAM):
            part.add_module("spatial", RowwiseSpatialAttention(part.spatial, width))
        elif isinstance(part, nn.Sequential) and isinstance(part[0], nn.AvgPool2d) and part[0].stride == 1:
            part[0] = nn.Identity()


def _layer(part: nn.Module, place: int = 0) -> nn.Conv2d:
    """Return a layer of a Sequential that is a convolution."""
    return cast(nn.Conv2d, cast(nn.Sequential, part)[place])


def _conv(
    weight: Tensor, bias: Tensor | None, stride: tuple[int, int] = (1, 1), padding: tuple[int, int] = (0, 0)
) -> nn.Conv2d:
    """Return a convolution with this weight (outputs,inputs,height,width) and bias."""
    outputs, inputs, height, width = weight.shape
    conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=bias is not None)
    conv.weight, conv.bias = nn.Parameter(weight), None if bias is None else nn.Parameter(bias)
    return conv


class PackedConv(nn.Module):
    """Convolution of stride 1 that computes several neighbouring pixels at once, as channels of one wider kernel.

    (N,C,H,width) -> (N,outputs,H,width).
    """

    def __init__(self, plain: nn.Conv2d, width: int) -> None:
        super().__init__()
        self.outputs, self.pixels = plain.out_channels, gcd(width, max(1, LANES // plain.out_channels))
        shifted = [F.pad(plain.weight, (place, self.pixels - 1 - place)) for place in range(self.pixels)]
        bias = None if plain.bias is None else plain.bias.repeat(self.pixels)
        height, places = plain.weight.shape[2:]
        self.packed = _conv(torch.cat(shifted), bias, (1, self.pixels), (height // 2, places // 2))

    def forward(self, x: Tensor) -> Tensor:
        return unpack(self.packed(x), self.outputs).permute(0, 3, 1, 2)


def unpack(packed: Tensor, channels: int) -> Tensor:
    """Return pixels that were packed as channels, (N,pixels*channels,H,W) -> (N,H,pixels*W,channels)."""
    count, _, height, _ = packed.shape
    return packed.permute(0, 2, 3, 1).reshape(count, height, -1, channels)


class PackedFaceEncoder(nn.Module):
    """`FaceEncoder` whose full-size features stay packed, and whose poolings are part of the convolutions after them.

    (N,6,S,S) -> the first features (N,S,S,C), channels last by their shape, and the others as they were.
    """

    def __init__(self, plain: FaceEncoder, size: int) -> None:
        super().__init__()
        self.stem, self.stages = PackedConv(_layer(plain.stem), size), plain.stages
        pixels = self.stem.pixels
        for stage in self.stages:
            block = cast(ResidualCBAM, cast(nn.Sequential, stage)[0])
            block.body[0] = _halving(_layer(block.body), pixels)
            conv = _layer(block.skip, 1)
            block.skip = _halving(_conv(conv.weight.expand(-1, -1, 2, 2) / 4, conv.bias, (2, 2)), pixels)
            pixels = 1

    def forward(self, faces: Tensor) -> list[Tensor]:
        x = torch.relu(self.stem.packed(faces))
        features = [unpack(x, self.stem.outputs)]
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _halving(plain: nn.Conv2d, pixels: int) -> nn.Conv2d:
    """Return a convolution of stride 2 for an input with one or two pixels packed as channels."""
    if pixels == 1:
        return plain
    outputs, inputs, height, width = plain.weight.shape
    padding = (width - 1) // 2
    weight = plain.weight.new_zeros(outputs, 2, inputs, height, 2 * padding + 1)
    for place in range(width):
        pair, pixel = divmod(place - padding, 2)
        weight[:, pixel, :, :, pair + padding] = plain.weight[..., place]
    return _conv(weight.flatten(1, 2), plain.bias, (2, 1), (padding, padding))


class ChannelsLastFinestStage(nn.Module):
    """`FinestStage` that joins its inputs channels last. It gets the features (N,S,S,D) of a `PackedFaceEncoder`.

    It unfolds upper and lower pixels apart: each of the two is a picture in memory, whose rows need only be alternated.
    """

    def __init__(self, plain: FinestStage) -> None:
        super().__init__()
        conv = _layer(plain.unfold)
        parts = conv.weight, cast(Tensor, conv.bias)
        weight, bias = (part.reshape(-1, 2, 2, *part.shape[1:]).transpose(0, 2) for part in parts)
        self.channels = weight.shape[2]
        sides = [_conv(weight[:, side].flatten(0, 1), bias[:, side].flatten(), (1, 1), (1, 1)) for side in range(2)]
        self.sides, self.fuse = nn.ModuleList(sides), plain.fuse

    def forward(self, coarse: Tensor, features: Tensor, pixels: Tensor, top: int = 0) -> Tensor:
        coarse = coarse[:, :, top:]
        sides = [unpack(torch.relu(side(coarse)), self.channels) for side in self.sides]
        unfolded = torch.stack(sides, dim=2).flatten(1, 2)
        skips = [skip[:, 2 * top :] for skip in (features, pixels.permute(0, 2, 3, 1))]
        fused: Tensor = self.fuse(torch.cat([unfolded, *skips], dim=3).permute(0, 3, 1, 2))
        return fused


class RowwiseSpatialAttention(nn.Module):
    """`SpatialAttention` that computes a row of places at once. (N,C,H,width) -> (N,1,H,width) in 0..1."""

    def __init__(self, plain: SpatialAttention, width: int) -> None:
        super().__init__()
        conv = _layer(plain.gate)
        height, places = conv.weight.shape[2:]
        rows = conv.weight.new_zeros(width, 2, width + places - 1, height)
        for target in range(width):
            rows[target, :, target : target + places] = conv.weight[0].transpose(1, 2)
        rows = rows[:, :, places // 2 : places // 2 + width]  # nothing lies beside a row
        self.gate = nn.Conv1d(2 * width, width, height, padding=height // 2)
        self.gate.weight = nn.Parameter(rows.flatten(1, 2))
        self.gate.bias = nn.Parameter(cast(Tensor, conv.bias).repeat(width))

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.cat([x.amax(1), x.mean(1)], dim=2).transpose(1, 2)
        gate: Tensor = torch.sigmoid(self.gate(rows))
        return gate.transpose(1, 2)[:, None]


class JoinedFourierConv(nn.Module):
    """`FourierConv` whose local and global shares are never cut apart: weights between them are zero instead.

    (N,C,grid,grid) -> (N,C,grid,grid).
    """

    def __init__(self, plain: FourierConv) -> None:
        super().__init__()
        local, channels = plain.local_channels, plain.local_channels + plain.global_channels
        near = torch.zeros(channels, channels, 3, 3)
        near[:, :local], near[:local, local:] = plain.from_local.weight, plain.global_to_local.weight
        self.near = _conv(near, None, padding=(1, 1))
        far = plain.global_to_global
        reduce = _layer(far.reduce)
        reduce.weight = nn.Parameter(F.pad(reduce.weight, (0, 0, 0, 0, local, 0)))
        far.expand.weight = nn.Parameter(F.pad(far.expand.weight, (0, 0, 0, 0, 0, 0, local, 0)))
        grid = round(far.forward_dft.shape[1] ** 0.5)
        self.far = SeparableTransform(far, grid) if grid >= LARGE_GRID else far

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.near(x) + self.far(x)
        return mixed


class SeparableTransform(nn.Module):
    """`SpectralTransform` whose Fourier transforms go along rows and columns, one after the other.

    (N,C,grid,grid) -> (N,C,grid,grid). A row lies in memory as places times channels, so the transform of a row, and
    the mixing of channels per frequency, are products with one matrix each.
    """

    def __init__(self, plain: SpectralTransform, grid: int) -> None:
        super().__init__()
        self.reduce, self.expand, mix = plain.reduce, plain.expand, _layer(plain.mix)
        channels, frequencies = torch.eye(mix.out_channels // 2), torch.eye(grid // 2 + 1)
        forward, inverse = row_matrices(grid)
        self.row = nn.Parameter(torch.kron(forward, channels))
        self.unrow = nn.Parameter(torch.kron(inverse, channels))
        column = column_matrix(grid)
        self.column, self.uncolumn = nn.Parameter(column), nn.Parameter(column.T.contiguous())
        weight, bias = mix.weight.reshape(2, len(channels), 2, len(channels)), cast(Tensor, mix.bias)
        mixing = torch.einsum("acbd,kl->akcbld", weight, frequencies)  # each frequency with itself
        self.mix = nn.Parameter(mixing.flatten(0, 2).flatten(1))
        self.mix_bias = nn.Parameter(bias.reshape(2, 1, -1).expand(-1, len(frequencies), -1).flatten())

    def forward(self, x: Tensor) -> Tensor:
        places = self.reduce(x).permute(0, 2, 3, 1)
        rows = places.flatten(2)
        spectrum = _along_columns(self.column, F.linear(rows, self.row))
        mixed = torch.relu(F.linear(spectrum, self.mix, self.mix_bias))
        rows = rows + F.linear(_along_columns(self.uncolumn, mixed), self.unrow)
        expanded: Tensor = self.expand(rows.reshape(places.shape).permute(0, 3, 1, 2))
        return expanded


def _along_columns(matrix: Tensor, rows: Tensor) -> Tensor:
    """Multiply columns, whose places have real and imaginary parts, by a matrix (2H,2H). rows (N,H,2V) -> (N,H,2V)."""
    count, height, values = rows.shape
    return torch.matmul(matrix, rows.reshape(count, 2 * height, values // 2)).reshape(count, height, values)


def row_matrices(width: int) -> tuple[Tensor, Tensor]:
    """Return the orthonormal real DFT of a row and its inverse as matrices, float32.

    With K = width // 2 + 1: forward (2K,width), real parts before imaginary parts; inverse (width,2K).
    """
    spectrum = torch.fft.rfft(torch.eye(width, dtype=torch.float64), norm="ortho").T
    units = torch.eye(len(spectrum), dtype=torch.float64)
    inverse = [torch.fft.irfft(unit, n=width, norm="ortho").T for unit in (units + 0j, units * 1j)]
    return torch.cat([spectrum.real, spectrum.imag]).float(), torch.cat(inverse, dim=1).float()


def column_matrix(height: int) -> Tensor:
    """Return the orthonormal complex DFT of a column as a real matrix (2H,2H) float32; its transpose is the inverse.

    Real and imaginary part of each place or frequency are neighbours.
    """
    matrix = torch.fft.fft(torch.eye(height, dtype=torch.float64), norm="ortho")
    parts = [torch.stack(row, dim=2) for row in ((matrix.real, -matrix.imag), (matrix.imag, matrix.real))]
    return torch.stack(parts, dim=1).reshape(2 * height, 2 * height).float()
