"""The semantic alignment module (SAM): the audio latent sets the statistics of the visual features.

SAM comes from LPIPS-AttnWav2Lip (https://arxiv.org/abs/2602.00189). Fast Fourier convolution widens the receptive
field. Adaptive instance normalisation (AdaIN) then gives each channel the mean and spread that the audio asks for. The
paper does not publish how the two are connected. Our design is one residual block of two such steps, whose scale and
shift are learned from the latent. The last layer of that map starts at zero, so that training starts from plain
instance normalisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.network.attention import conv_norm
from model.network.fourier import FourierConv

_EPSILON = 1e-5


class AdaptiveInstanceNorm(nn.Module):
    """Adaptive instance normalisation (AdaIN): scale and shift of each normalised channel come from the latent.

    x (N,C,H,W), latent (N,L) -> (N,C,H,W): (x - mean) / sqrt(var + 1e-5) * (1 + gamma) + beta. Huang and Belongie 2017,
    https://arxiv.org/abs/1703.06868.
    """

    def __init__(self, channels: int, latent: int, hidden: int = 128) -> None:
        super().__init__()
        last = nn.Linear(hidden, 2 * channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.style = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), last)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        gamma, beta = self.style(latent)[:, :, None, None].chunk(2, dim=1)
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        scale = torch.rsqrt(variance + _EPSILON) * (1 + gamma)
        aligned: Tensor = x * scale + (beta - mean * scale)
        return aligned


class ConcatenatedNorm(nn.Module):
    """Ablation without AdaIN: the latent is concatenated at every place, then mixed in by a 1x1 convolution.

    x (N,C,H,W), latent (N,L) -> (N,C,H,W).
    """

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.mix = conv_norm(channels + latent, channels, kernel=1)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        spread = latent[:, :, None, None].expand(-1, -1, *x.shape[2:])
        mixed: Tensor = self.mix(torch.cat([x, spread.to(x.dtype)], dim=1))
        return mixed


class SemanticAlignment(nn.Module):
    """Residual block that aligns visual features with the audio. x (N,C,grid,grid), latent (N,L) -> (N,C,grid,grid).

    LPIPS-AttnWav2Lip, https://arxiv.org/abs/2602.00189; the design of the block is ours, see above.
    """

    def __init__(self, channels: int, grid: int, latent: int, *, use_ffc: bool = True, use_adain: bool = True) -> None:
        super().__init__()

        def convolution() -> nn.Module:
            return FourierConv(channels, grid) if use_ffc else nn.Conv2d(channels, channels, 3, padding=1, bias=False)

        def norm() -> nn.Module:
            return AdaptiveInstanceNorm(channels, latent) if use_adain else ConcatenatedNorm(channels, latent)

        self.first, self.first_norm = convolution(), norm()
        self.second, self.second_norm = convolution(), norm()

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        inner = torch.relu(self.first_norm(self.first(x), latent))
        return torch.relu(x + self.second_norm(self.second(inner), latent))
