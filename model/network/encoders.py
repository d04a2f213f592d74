"""The generator's encoders: a face becomes one feature map per scale, for the skips; a window of sound one vector.

Faces and mel windows are encoded as in Wav2Lip (Prajwal et al. 2020, https://arxiv.org/abs/2008.10010), with the
residual CBAM blocks of LPIPS-AttnWav2Lip (https://arxiv.org/abs/2602.00189). The features of a speech encoder are
already the work of a large network, so a small perceptron suffices for them.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from model.network.attention import ResidualCBAM, conv_norm
from model.speech_encoder.port import FEATURES, WINDOW_STEPS

LATENT = 512
_STEP_VALUES = 64  # to which the features of one step are reduced
_HIDDEN = 256
_DROPPED = 0.4  # share of the values that are left out in training, since there are few real voices


class FaceEncoder(nn.Module):
    """Encoder of masked target and reference together, from full size down to a sixteenth.

    (N,6,S,S) in 0..1 -> one feature map per scale, finest first: (N,channels[i],S/2^i,S/2^i).
    """

    def __init__(self, channels: tuple[int, ...], *, use_cbam: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(6, channels[0], kernel=5), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(
                ResidualCBAM(finer, coarser, stride=2, use_cbam=use_cbam),
                # A second block from scale 2 on: there the grid is small, so the block is cheap.
                *([ResidualCBAM(coarser, coarser, use_cbam=use_cbam)] if scale >= 2 else []),
            )
            for scale, (finer, coarser) in enumerate(pairwise(channels), start=1)
        )

    def forward(self, faces: Tensor) -> list[Tensor]:
        features = [self.stem(faces)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features


class AudioEncoder(nn.Module):
    """Encoder of a mel window of 80 bands and 32 columns. (N,1,80,32) in -4..4 -> (N,latent)."""

    def __init__(self, *, use_cbam: bool = True, latent: int = LATENT) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(1, 32, kernel=5, stride=2), nn.ReLU())  # 40x16
        self.stages = nn.Sequential(
            ResidualCBAM(32, 64, stride=2, use_cbam=use_cbam),  # 20x8
            ResidualCBAM(64, 128, stride=2, use_cbam=use_cbam),  # 10x4
            ResidualCBAM(128, 256, stride=2, use_cbam=use_cbam),  # 5x2
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(256 * 5 * 2, latent))

    def forward(self, mels: Tensor) -> Tensor:
        vector: Tensor = self.head(self.stages(self.stem(mels / 4)))
        return vector


class FeatureEncoder(nn.Module):
    """Encoder of a window of a speech encoder's features. (N,1,16,384) -> (N,latent).

    The same map reduces every step, so that the window is described by few numbers, whatever the speaker.
    """

    def __init__(self, latent: int = LATENT) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(FEATURES)
        self.reduce = nn.Linear(FEATURES, _STEP_VALUES)
        self.dropout = nn.Dropout(_DROPPED)
        self.hidden = nn.Linear(WINDOW_STEPS * _STEP_VALUES, _HIDDEN)
        self.head = nn.Linear(_HIDDEN, latent)

    def forward(self, features: Tensor) -> Tensor:
        steps = self.dropout(torch.relu(self.reduce(self.norm(features))))
        vector: Tensor = self.head(self.dropout(torch.relu(self.hidden(steps.flatten(1)))))
        return vector
