"""Hearing: from sound to what a mouth does, before any picture is drawn.

The audio encoder's latent must say how the articulators stand: aperture, width, protrusion, jaw, tongue, closure and
tuck, the channels of model/corpus/speech/articulation.py. It is learned from voices alone, which cost nothing to
make; the generator then starts from an encoder that already understands speech. The explicit articulation is our own
addition to the paper's audio latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.network.encoders import LATENT, AudioEncoder

CHANNELS = 7  # aperture, width, protrusion, jaw, tongue, press, tuck
APERTURE, WIDTH = 0, 1
CALIBRATED = ("emphasis", "silence")  # buffers that are measured, not learned
_MEAN = (0.25, 0.0, 0.15, 0.2, 0.3, 0.12, 0.05)
_SPREAD = (0.22, 0.4, 0.3, 0.2, 0.3, 0.3, 0.2)
_MOST_EMPHASIS = 2.5
# Drawn lips move less than they are asked to: by so much more they are asked, until a face mesh sees puppets open as
# far as they should (aperture and jaw) and real talkers' width move clear of its noise (width, protrusion).
_DRAWN_FOR = (1.4, 1.5, 1.5, 1.4, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class HearingConfig:
    """Shape the hearing."""

    use_cbam: bool = True


class Hearing(nn.Module):
    """Understand a mel window. mels (N,1,80,32) in -4..4 -> latent (N,512), normal articulation (N,7).

    A normal articulation has about zero mean and unit spread, see `normal_articulation`. What is heard is an average
    over all that the sound allows: it moves less than real lips, and in silence not quite to rest. `emphasised` mends
    both, with the buffers `emphasis` (7), how much more was moved than heard, and `silence` (7), what silence sounds
    like.
    """

    emphasis: Tensor
    silence: Tensor

    def __init__(self, config: HearingConfig) -> None:
        super().__init__()
        self.config = config
        self.audio = AudioEncoder(use_cbam=config.use_cbam)
        self.level = nn.LayerNorm(LATENT)  # so that the cue counts beside the latent, whatever its size
        self.articulation = nn.Linear(LATENT, CHANNELS)
        self.register_buffer("emphasis", torch.ones(CHANNELS))
        self.register_buffer("silence", normal_articulation(torch.zeros(CHANNELS)))

    def forward(self, mels: Tensor) -> tuple[Tensor, Tensor]:
        latent: Tensor = self.level(self.audio(mels))
        return latent, self.articulation(torch.relu(latent))

    def emphasised(self, heard: Tensor) -> Tensor:
        """Return a normal articulation (N,7) as far from rest as lips really move; at rest where silence is heard."""
        rest = normal_articulation(torch.zeros_like(self.silence))
        return rest.to(heard.dtype) + (heard - self.silence.to(heard.dtype)) * self.emphasis.to(heard.dtype)

    def calibrate(self, heard: Tensor, known: Tensor, silence: Tensor) -> None:
        """Set what `emphasised` needs: normal articulations heard and known, (N,7), and what silence gives, (7,)."""
        spread = known.std(0) / heard.float().std(0).clamp(min=1e-3)
        self.emphasis.copy_(spread.clamp(1.0, _MOST_EMPHASIS) * spread.new_tensor(_DRAWN_FOR))
        self.silence.copy_(silence)


def normal_articulation(rows: Tensor) -> Tensor:
    """Bring an articulation to about zero mean and unit spread, (N,7) -> (N,7)."""
    return (rows - rows.new_tensor(_MEAN)) / rows.new_tensor(_SPREAD)
