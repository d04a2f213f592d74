"""The published Wav2Lip generator and its sync expert.

Architecture: Prajwal et al. 2020, https://arxiv.org/abs/2008.10010. The names of parameters are those of the published
checkpoints (`face_encoder_blocks.0.0.conv_block.0.weight`), so that these load; the code is ours. Pixels are BGR in
0..1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Stride = int | tuple[int, int]


class ConvNorm(nn.Module):
    """Convolution, batch norm, optionally plus the input, ReLU. (N,inputs,H,W) -> (N,outputs,H/stride,W/stride)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: Stride, padding: int, residual: bool) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        self.conv_block = nn.Sequential(conv, nn.BatchNorm2d(outputs))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_block(x)
        return torch.relu(y + x if self.residual else y)


class UpConvNorm(nn.Module):
    """Transposed 3x3 convolution, batch norm, ReLU. (N,inputs,H,W) -> (N,outputs,H*stride,W*stride); 1x1 gives 3x3."""

    def __init__(self, inputs: int, outputs: int, stride: int, padding: int, output_padding: int) -> None:
        super().__init__()
        conv = nn.ConvTranspose2d(inputs, outputs, 3, stride, padding, output_padding)
        self.conv_block = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv_block(x))


def _conv(inputs: int, outputs: int, stride: Stride = 1, kernel: int = 3, padding: int = 1) -> ConvNorm:
    return ConvNorm(inputs, outputs, kernel, stride, padding, residual=False)


def _residual(channels: int, count: int) -> list[nn.Module]:
    return [ConvNorm(channels, channels, 3, 1, 1, residual=True) for _ in range(count)]


def _audio_trunk(last_residuals: int) -> list[nn.Module]:
    """Build the audio encoder that both networks have: (N,1,80,16) -> (N,512,1,1)."""
    return [
        _conv(1, 32),
        *_residual(32, 2),
        _conv(32, 64, stride=(3, 1)),
        *_residual(64, 2),
        _conv(64, 128, stride=3),
        *_residual(128, 2),
        _conv(128, 256, stride=(3, 2)),
        *_residual(256, last_residuals),
        _conv(256, 512, padding=0),
        _conv(512, 512, kernel=1, padding=0),
    ]


class Wav2Lip(nn.Module):
    """Wav2Lip's generator: draws a face that says the sound. Prajwal et al. 2020.

    faces (N,6,96,96) BGR in 0..1, masked target then reference; mels (N,1,80,16) in -4..4 -> (N,3,96,96) BGR in 0..1.
    """

    def __init__(self) -> None:
        super().__init__()
        down = [(16, 32, 2), (32, 64, 3), (64, 128, 2), (128, 256, 2), (256, 512, 1)]
        self.face_encoder_blocks = nn.ModuleList(
            [
                nn.Sequential(_conv(6, 16, kernel=7, padding=3)),  # 96x96
                *(nn.Sequential(_conv(a, b, stride=2), *_residual(b, count)) for a, b, count in down),  # 48 .. 3
                nn.Sequential(_conv(512, 512, padding=0), _conv(512, 512, kernel=1, padding=0)),  # 1x1
            ]
        )
        self.audio_encoder = nn.Sequential(*_audio_trunk(last_residuals=1))
        up = [(1024, 512), (768, 384), (512, 256), (320, 128), (160, 64)]  # 6x6 .. 96x96
        self.face_decoder_blocks = nn.ModuleList(
            [
                nn.Sequential(_conv(512, 512, kernel=1, padding=0)),
                nn.Sequential(UpConvNorm(1024, 512, 1, 0, 0), *_residual(512, 1)),  # 3x3
                *(nn.Sequential(UpConvNorm(a, b, 2, 1, 1), *_residual(b, 2)) for a, b in up),
            ]
        )
        self.output_block = nn.Sequential(_conv(80, 32), nn.Conv2d(32, 3, 1))

    def forward(self, faces: Tensor, mels: Tensor) -> Tensor:
        features = []
        for block in self.face_encoder_blocks:
            faces = block(faces)
            features.append(faces)
        x: Tensor = self.audio_encoder(mels)
        for block in self.face_decoder_blocks:
            x = torch.cat([block(x), features.pop()], dim=1)
        return torch.sigmoid(self.output_block(x).float())


class SyncNetColor(nn.Module):
    """Wav2Lip's sync expert: embeds five lower halves and a mel window; embeddings of the same moment lie close.

    halves (N,15,48,96) BGR in 0..1, frame after frame; mels (N,1,80,16) in -4..4 -> audio, face (N,512), each of unit
    length. Prajwal et al. 2020, after SyncNet (Chung and Zisserman 2016).
    """

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder = nn.Sequential(
            _conv(15, 32, kernel=7, padding=3),
            _conv(32, 64, stride=(1, 2), kernel=5),
            *_residual(64, 2),
            _conv(64, 128, stride=2),
            *_residual(128, 3),
            _conv(128, 256, stride=2),
            *_residual(256, 2),
            _conv(256, 512, stride=2),
            *_residual(512, 2),
            _conv(512, 512, stride=2),
            _conv(512, 512, padding=0),
            _conv(512, 512, kernel=1, padding=0),
        )
        self.audio_encoder = nn.Sequential(*_audio_trunk(last_residuals=2))

    def forward(self, mels: Tensor, halves: Tensor) -> tuple[Tensor, Tensor]:
        audio = self.audio_encoder(mels).flatten(1).float()
        face = self.face_encoder(halves).flatten(1).float()
        return F.normalize(audio, dim=1), F.normalize(face, dim=1)
