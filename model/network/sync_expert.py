"""The sync expert: does this mouth say this sound?

Five lower halves and one mel window are embedded in a shared space. It is trained to pick the right window among
others of the same clip, so that it can only use the moment, never the voice or the face; then it is frozen and judges
the generator. Smaller than the published one (model/network/wav2lip.py), and in RGB.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.attention import ResidualCBAM, conv_norm
from model.network.encoders import AudioEncoder

FRAMES = 5
_EMBEDDING = 256


@dataclass(frozen=True)
class SyncExpertConfig:
    """Shape an expert. image_size: of the whole crop, in pixels; width multiplies the visual channels."""

    image_size: int = 96
    width: float = 1.0

    def __post_init__(self) -> None:
        if type(self.image_size) is not int or not 32 <= self.image_size <= 1024 or self.image_size % 16:
            raise ValueError(f"image_size must be a multiple of 16 from 32 to 1024, not {self.image_size!r}")
        if type(self.width) not in (int, float) or not 0.25 <= self.width <= 8:
            raise ValueError(f"width must lie between 0.25 and 8, not {self.width!r}")


class SyncExpert(nn.Module):
    """Embed mouths and sound. halves (N,15,S/2,S) RGB in 0..1, mels (N,1,80,32) -> audio, face (N,256), unit length."""

    def __init__(self, config: SyncExpertConfig) -> None:
        super().__init__()
        self.config = config
        c = [max(8, round(count * config.width / 8) * 8) for count in (32, 64, 128, 256)]
        self.face = nn.Sequential(
            *conv_norm(3 * FRAMES, c[0], kernel=5, stride=2),  # S/4 x S/2
            nn.ReLU(),
            ResidualCBAM(c[0], c[1], stride=2, use_cbam=False),
            ResidualCBAM(c[1], c[2], stride=2, use_cbam=False),
            ResidualCBAM(c[2], c[3], stride=2, use_cbam=False),  # S/32 x S/16
            nn.AdaptiveAvgPool2d((3, 6)),
            nn.Flatten(),
            nn.Linear(c[3] * 18, _EMBEDDING),
        )
        self.audio = AudioEncoder(use_cbam=False, latent=_EMBEDDING)
        self.log_scale = nn.Parameter(torch.tensor(2.3))  # cosine times 10 at the start

    def embed_face(self, halves: Tensor) -> Tensor:
        """Embed five lower halves, (N,15,S/2,S) in 0..1 -> (N,256) of unit length."""
        return F.normalize(self.face(halves).float(), dim=1)

    def embed_audio(self, mels: Tensor) -> Tensor:
        """Embed mel windows, (N,1,80,32) -> (N,256) of unit length."""
        return F.normalize(self.audio(mels).float(), dim=1)

    def forward(self, halves: Tensor, mels: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed_audio(mels), self.embed_face(halves)


def stack_lower_halves(faces: Tensor) -> Tensor:
    """Stack five consecutive crops as the expert sees them, (B,5,3,S,S) -> (B,15,S/2,S)."""
    return faces[:, :, :, faces.shape[3] // 2 :].flatten(1, 2)
