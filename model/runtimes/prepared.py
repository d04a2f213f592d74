"""A network with its first and last steps: pixels in, levels out. Every runtime computes this same module."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.generator import Drawing, Generator


class PreparedNetwork(nn.Module):
    """Network between a prepared batch and what was drawn.

    faces (N,S,S,6) uint8, sound (N,rows,columns) float32, movements (N,2) float32 -> levels (N,S,S,3) uint8 and, from a
    network that draws a `Drawing`, offsets (N,2,S/2,S/2) and mask (N,S,S), float32. dtype: that of the network.
    hidden_row: the first hidden row. Above it the target's own pixels are known, so a `Drawing` has no colours there,
    and its mask is 0.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, hidden_row: int) -> None:
        super().__init__()
        self.network, self._dtype, self._hidden_row = network, dtype, hidden_row

    def forward(self, faces: Tensor, sound: Tensor, movements: Tensor) -> tuple[Tensor, ...]:
        """Draw the batch."""
        pixels = (faces.to(self._dtype) / 255).permute(0, 3, 1, 2)  # channels last in memory, without a copy
        heard = sound[:, None].to(self._dtype)
        if isinstance(self.network, Generator):
            drawn = self.network(pixels, heard, movements, self._hidden_row)
        else:
            drawn = self.network(pixels, heard)
        if isinstance(drawn, Drawing):
            above = self._hidden_row
            levels, mask = _levels(drawn.colours), drawn.mask[:, 0]
            return F.pad(levels, (0, 0, 0, 0, above, 0)), drawn.offsets, F.pad(mask, (0, 0, above, 0))
        return (_levels(drawn),)


def _levels(drawn: Tensor) -> Tensor:
    """Convert (N,3,H,S) in 0..1 to (N,H,S,3) uint8."""
    return (drawn.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).to(torch.uint8)
