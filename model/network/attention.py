"""Residual blocks with convolutional block attention (CBAM).

CBAM: Woo et al. 2018, https://arxiv.org/abs/1807.06521. Attention acts after the last batch norm of a residual block,
before the skip is added. Every convolution and its batch norm are neighbours in a Sequential, so that they can be
folded into one for serving (model/network/folding.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_OPEN = 3.0  # logit at the start: sigmoid 0.95, so that an untrained block acts almost like a plain residual block


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int | tuple[int, int] = 1) -> nn.Sequential:
    """Build a convolution and its batch norm. (N,inputs,H,W) -> (N,outputs,H/stride,W/stride)."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ChannelAttention(nn.Module):
    """Channel weights of CBAM: sigmoid(MLP(avgpool x) + MLP(maxpool x)) with one shared MLP.

    (N,C,H,W) -> (N,C,1,1) in 0..1. Woo et al. 2018, section 3.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(4, channels // reduction)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)
        if self.excite.bias is not None:
            nn.init.constant_(self.excite.bias, _OPEN / 2)  # added twice, once per pooling

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)], dim=3)  # (N,C,1,2)
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(pooled))).sum(3, keepdim=True))


class SpatialAttention(nn.Module):
    """Place weights of CBAM: sigmoid(BN(conv7x7([max over C; mean over C]))). (N,C,H,W) -> (N,1,H,W) in 0..1.

    Woo et al. 2018, section 3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = conv_norm(2, 1, kernel=7)
        nn.init.constant_(self.gate[1].get_parameter("bias"), _OPEN)

    def forward(self, x: Tensor) -> Tensor:
        summary = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        gate: Tensor = torch.sigmoid(self.gate(summary))
        return gate


class CBAM(nn.Module):
    """Convolutional block attention: channel weights first, then place weights. (N,C,H,W) -> (N,C,H,W).

    Woo et al. 2018, https://arxiv.org/abs/1807.06521.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.channel(x)
        attended: Tensor = x * self.spatial(x)
        return attended


class ResidualCBAM(nn.Module):
    """Two 3x3 convolutions, CBAM, skip and ReLU. (N,inputs,H,W) -> (N,outputs,H/stride,W/stride).

    Used throughout LPIPS-AttnWav2Lip (https://arxiv.org/abs/2602.00189). Without `use_cbam` it is a plain residual
    block, for the ablation.
    """

    def __init__(self, inputs: int, outputs: int, stride: int | tuple[int, int] = 1, *, use_cbam: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv_norm(inputs, outputs, 3, stride), nn.ReLU(), *conv_norm(outputs, outputs))
        self.attention = CBAM(outputs) if use_cbam else nn.Identity()
        if inputs == outputs and stride == 1:
            self.skip: nn.Module = nn.Identity()
        else:
            # Pool, then convolve. A strided 1x1 convolution would ignore three of four places (He et al. 2019,
            # https://arxiv.org/abs/1812.01187), and its backward pass corrupts memory in oneDNN at 8 channels.
            self.skip = nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True), *conv_norm(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.attention(self.body(x)) + self.skip(x))
