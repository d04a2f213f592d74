"""Hearing: the network that predicts the articulation from sound, before anything is drawn.

From a latent of the sound it predicts the seven channels of model/articulation.py: aperture, width, protrusion, jaw,
tongue, press and tuck. The sound is a window of a pretrained speech encoder's features or of the mel spectrogram. It is
trained on voices alone, which cost little to make, so that the generator starts from an audio encoder that already maps
speech to lips. The explicit articulation is our own addition to the audio latent of the paper (LPIPS-AttnWav2Lip,
https://arxiv.org/abs/2602.00189).
"""

from __future__ import annotations

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from model.articulation import CHANNELS, OPENING, SPREADING, Channel
from model.network.encoders import LATENT, AudioEncoder, FeatureEncoder
from model.speech_encoder.port import MARGIN_STEPS
from model.typed_config import STRICT

CALIBRATED = ("emphasis", "silence")  # buffers that are measured, not learned
_MEAN = (0.25, 0.0, 0.15, 0.2, 0.3, 0.12, 0.05)  # one value per channel, here and below
_SPREAD = (0.22, 0.4, 0.3, 0.2, 0.3, 0.3, 0.2)
_MOST_EMPHASIS = 2.5
# Drawn lips move less than the articulation asks, so it is multiplied by these factors. They were raised until a face
# mesh measured puppets that open as far as they should (aperture and jaw), and a width of real speakers that moves
# clearly more than its noise (width, protrusion).
_DRAWN_FOR = (1.3, 1.7, 1.7, 1.3, 1.0, 1.0, 1.0)


@dataclass(frozen=True, config=STRICT)
class HearingConfig:
    """Shape of a hearing network. speech_encoder: name of the encoder whose features it hears; "": it hears mels."""

    use_cbam: bool = True
    speech_encoder: str = ""


class Hearing(nn.Module):
    """Network that predicts the articulation. sound (N,1,rows,columns) -> latent (N,512), normal articulation (N,7).

    sound: mels (N,1,80,32) in -4..4, or features (N,1,20,384) of a speech encoder, as the config says.

    A normal articulation has about zero mean and unit spread, see `normal_articulation`. A prediction is an average
    over every movement that the sound allows. It therefore moves less than real lips, and in silence it does not quite
    come to rest. `emphasised` corrects both with two buffers: `emphasis` (7,), the factor by which real lips move more
    than predicted, and `silence` (7,), the prediction for silence.
    """

    emphasis: Tensor
    silence: Tensor

    def __init__(self, config: HearingConfig) -> None:
        super().__init__()
        self.config = config
        self.audio = FeatureEncoder() if config.speech_encoder else AudioEncoder(use_cbam=config.use_cbam)
        # Normalised, so that the generator can add its cue from the articulation, whatever the latent's size.
        self.level = nn.LayerNorm(LATENT)
        self.articulation = nn.Linear(LATENT, CHANNELS)
        self.register_buffer("emphasis", torch.ones(CHANNELS))
        self.register_buffer("silence", normal_articulation(torch.zeros(CHANNELS)))

    def forward(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        if not self.config.speech_encoder:
            return self._predict(sound)
        latent, predicted = self._predict(sound[:, :, MARGIN_STEPS:-MARGIN_STEPS])
        if self.training:
            return latent, predicted
        # Single predictions tremble from frame to frame. A weighted mean over 40 ms on each side is as steady as filmed
        # lips.
        _, before = self._predict(sound[:, :, : -2 * MARGIN_STEPS])
        _, after = self._predict(sound[:, :, 2 * MARGIN_STEPS :])
        return latent, (before + 4 * predicted + after) / 6

    def _predict(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        latent: Tensor = self.level(self.audio(sound))
        return latent, self.articulation(torch.relu(latent))

    def emphasised(self, predicted: Tensor, movement: Tensor | None = None) -> Tensor:
        """Return a normal articulation (N,7) that moves as far from rest as real lips, and rests in silence.

        movement: how far each person opens and spreads the lips, (N,2) with 1 for the usual; None: all move as usual.
        """
        rest = normal_articulation(torch.zeros_like(self.silence))
        silence, emphasis = self.silence.to(predicted.dtype), self.emphasis.to(predicted.dtype)
        moved = (predicted - silence) * emphasis
        if movement is not None:
            moved = moved * self._gains(movement.to(moved.dtype))
        return rest.to(predicted.dtype) + moved

    @staticmethod
    def _gains(movement: Tensor) -> Tensor:
        """Return the factor of each channel, (N,2) -> (N,7). Made without assignments, which exports lack."""
        usual = torch.ones_like(movement[:, 0])
        factors = dict.fromkeys(OPENING, movement[:, 0]) | dict.fromkeys(SPREADING, movement[:, 1])
        return torch.stack([factors.get(channel, usual) for channel in Channel], dim=1)

    def calibrate(self, predicted: Tensor, known: Tensor, silence: Tensor) -> None:
        """Set the buffers of `emphasised`.

        predicted, known: normal articulations of the same frames, (N,7). silence: the prediction for silence, (7,).
        """
        spread = known.std(0) / predicted.float().std(0).clamp(min=1e-3)
        self.emphasis.copy_(spread.clamp(1.0, _MOST_EMPHASIS) * spread.new_tensor(_DRAWN_FOR))
        self.silence.copy_(silence)


def normal_articulation(rows: Tensor) -> Tensor:
    """Scale an articulation to about zero mean and unit spread, (N,7) -> (N,7)."""
    return (rows - rows.new_tensor(_MEAN)) / rows.new_tensor(_SPREAD)
