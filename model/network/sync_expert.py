"""The sync expert: a network that measures whether a mouth and a sound belong to the same moment.

It embeds five lower halves of faces and one mel window in a shared space, as SyncNet does (Chung and Zisserman 2016,
https://www.robots.ox.ac.uk/~vgg/publications/2016/Chung16a/). It is trained to find the right window among others of
the same clip, so that neither the voice nor the face helps, only the moment. Then its weights are frozen, and it is
one term of the generator's loss, as in Wav2Lip (Prajwal et al. 2020, https://arxiv.org/abs/2008.10010). It is smaller
than the published expert (model/network/wav2lip.py), and works in RGB.
"""

from __future__ import annotations

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.attention import ResidualCBAM, conv_norm
from model.network.encoders import AudioEncoder
from model.typed_config import STRICT, ImageSize, Width

FRAMES = 5
_EMBEDDING = 256


@dataclass(frozen=True, config=STRICT)
class SyncExpertConfig:
    """Shape of an expert. image_size: of the whole crop, in pixels; width multiplies the visual channels.

    Raises pydantic's ValidationError, a ValueError, for a value out of range.
    """

    image_size: ImageSize = 96
    width: Width = 1.0


class SyncExpert(nn.Module):
    """Network that embeds mouths and sound.

    halves (N,15,S/2,S) RGB in 0..1, mels (N,1,80,32) in -4..4 -> audio, face (N,256) float32, each of unit length.
    """

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
        self.log_scale = nn.Parameter(torch.tensor(2.3))  # factor on the cosine: 10 at the start

    def embed_face(self, halves: Tensor) -> Tensor:
        """Embed five lower halves, (N,15,S/2,S) in 0..1 -> (N,256) of unit length."""
        return F.normalize(self.face(halves).float(), dim=1)

    def embed_audio(self, mels: Tensor) -> Tensor:
        """Embed mel windows, (N,1,80,32) -> (N,256) of unit length."""
        return F.normalize(self.audio(mels).float(), dim=1)

    def forward(self, halves: Tensor, mels: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed_audio(mels), self.embed_face(halves)


def stack_lower_halves(faces: Tensor) -> Tensor:
    """Stack the lower halves of five consecutive crops for the expert, (B,5,3,S,S) -> (B,15,S/2,S)."""
    return faces[:, :, :, faces.shape[3] // 2 :].flatten(1, 2)
