"""Fast Fourier convolution (FFC) with its transform written as a product with a constant matrix.

FFC: Chi et al. 2020, https://papers.nips.cc/paper/2020/hash/2fd5d41ec6cfab47e32164d5624269b1-Abstract.html. The grids
here are 6 to 32 wide. For such grids a matrix product over all places is as fast as an FFT; it also works in bfloat16,
leaves channels-last memory as it is, and can be exported.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def dft_matrices(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the orthonormal real 2-D DFT of a grid, and its inverse, as matrices.

    With K = height * (width // 2 + 1): forward (2K, height*width), whose rows are the real and the imaginary part of
    each frequency in turn; inverse (height*width, 2K). Both float32.
    """
    places = torch.eye(height * width, dtype=torch.float64).reshape(-1, height, width)
    spectrum = torch.fft.rfft2(places, norm="ortho")  # (HW,H,W/2+1)
    forward = torch.view_as_real(spectrum).reshape(height * width, -1).T
    units = torch.eye(forward.shape[0], dtype=torch.float64).reshape(-1, height, width // 2 + 1, 2)
    inverse = torch.fft.irfft2(torch.view_as_complex(units), s=(height, width), norm="ortho")
    return forward.float().contiguous(), inverse.reshape(-1, height * width).T.float().contiguous()


class SpectralTransform(nn.Module):
    """Global part of FFC: channels are mixed per frequency, so that every place depends on the whole grid.

    (N,C,grid,grid) -> (N,C,grid,grid). Chi et al. 2020.
    """

    def __init__(self, channels: int, grid: int) -> None:
        super().__init__()
        hidden = max(1, channels // 2)
        self.reduce = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU())
        self.mix = nn.Sequential(
            nn.Conv2d(2 * hidden, 2 * hidden, 1, bias=False), nn.BatchNorm2d(2 * hidden), nn.ReLU()
        )
        self.expand = nn.Conv2d(hidden, channels, 1, bias=False)
        forward, inverse = dft_matrices(grid, grid)
        self.register_buffer("forward_dft", forward, persistent=False)
        self.register_buffer("inverse_dft", inverse, persistent=False)
        self.forward_dft: Tensor
        self.inverse_dft: Tensor

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        count, channels, height, width = x.shape
        places = x.permute(0, 2, 3, 1).reshape(count, height * width, channels)
        spectrum = torch.matmul(self.forward_dft.to(places.dtype), places)  # (N,2K,C)
        stacked = spectrum.reshape(count, -1, 1, 2 * channels).permute(0, 3, 1, 2)  # (N,2C,K,1)
        mixed = self.mix(stacked).permute(0, 2, 3, 1).reshape(count, -1, channels)  # (N,2K,C)
        places = places + torch.matmul(self.inverse_dft.to(mixed.dtype), mixed)
        expanded: Tensor = self.expand(places.reshape(count, height, width, channels).permute(0, 3, 1, 2))
        return expanded


class FourierConv(nn.Module):
    """Fast Fourier convolution of a local and a global share of the channels. (N,C,grid,grid) -> (N,C,grid,grid).

    Both shares get both inputs: the local output is Conv(local) + Conv(global), the global output is Conv(local) +
    SpectralTransform(global). Chi et al. 2020; the global share of 0.75 is that of LaMa (Suvorov et al. 2021,
    https://arxiv.org/abs/2109.07161).
    """

    def __init__(self, channels: int, grid: int, global_share: float = 0.75) -> None:
        super().__init__()
        self.global_channels = round(channels * global_share)
        self.local_channels = channels - self.global_channels
        # One 3x3 convolution computes both products of the local share; a second one computes global -> local.
        self.from_local = nn.Conv2d(self.local_channels, channels, 3, padding=1, bias=False)
        self.global_to_local = nn.Conv2d(self.global_channels, self.local_channels, 3, padding=1, bias=False)
        self.global_to_global = SpectralTransform(self.global_channels, grid)

    def forward(self, x: Tensor) -> Tensor:
        near, far = x[:, : self.local_channels], x[:, self.local_channels :]
        informed = torch.cat([self.global_to_local(far), self.global_to_global(far)], dim=1)
        mixed: Tensor = self.from_local(near) + informed
        return mixed
