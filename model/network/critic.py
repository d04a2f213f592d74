"""A critic that distinguishes drawn faces from filmed ones, patch by patch, for the adversarial ablation.

A gradient reversal connects the drawing network and the critic. The gradient that teaches the critic to distinguish the
two reaches the drawing network with its sign reversed. One loss, one optimizer and one step therefore serve both.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.utils.parametrizations import spectral_norm

_CHANNELS = (3, 32, 64, 128)


class Critic(nn.Module):
    """Network that scores patches: high if a patch looks filmed. (N,3,H,W) in 0..1 -> (N,1,H/8,W/8), float32 logits.

    Patches: Isola et al. 2017, https://arxiv.org/abs/1611.07004. Spectral norm: Miyato et al. 2018,
    https://arxiv.org/abs/1802.05957.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(_CHANNELS):
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        self.patches = nn.Sequential(*layers, nn.Conv2d(_CHANNELS[-1], 1, 3, padding=1))

    def forward(self, faces: Tensor) -> Tensor:
        logits: Tensor = self.patches(faces * 2 - 1)
        return logits.float()


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        return -gradients[0]


def reverse_gradient(x: Tensor) -> Tensor:
    """Return x unchanged; its gradient gets the opposite sign. Any shape -> same.

    Ganin and Lempitsky 2015, https://arxiv.org/abs/1409.7495.
    """
    same: Tensor = _Reversal.apply(x)  # type: ignore[no-untyped-call]
    return same
