"""The generator of LPIPS-AttnWav2Lip (https://arxiv.org/abs/2602.00189), reconstructed from its published description.

A U-Net of residual CBAM blocks takes a face with its lower rows hidden and a reference crop of the same person. It
draws the whole face as it looks while saying the sound of a window around the frame. The audio is fused with the visual
features at the coarsest scale. It enters again through semantic alignment at grids of 6, 12 and 24 (for 96 px), so that
its effect does not fade with decoder depth. The grids of 3 and 1 that Wav2Lip has are left out.

Two additions are our own. First, known pixels (the target above, the reference below) are kept wherever possible.
Half-size features displace the known pixels, so that lips and jaw move together with their skin texture. Beside the
colours, the head draws a mask of the places where colours replace the displaced pixels, as for teeth. Crops are placed
on a rigid template: the reference is nearly in place, and the network has to learn little besides the movement of
speech. The result is a `Drawing`, which can be composed with the known pixels at any size, so that the skin of a
close-up stays as sharp as it was filmed. Second, the articulation is predicted from the latent
(model/network/hearing.py), so that hearing and drawing are trained separately.
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from model.articulation import CHANNELS
from model.network.alignment import SemanticAlignment
from model.network.attention import ResidualCBAM, conv_norm
from model.network.encoders import LATENT, FaceEncoder
from model.network.hearing import Hearing, HearingConfig
from model.typed_config import STRICT, ImageSize, Width

_CHANNELS = (16, 32, 64, 128, 256)  # at S, S/2, S/4, S/8, S/16
_FINEST = 24  # channels of the last map at full size, for every width
_FIELDS = 16  # displacement fields that all faces share
_REACH = 0.4  # largest displacement, as a share of half the picture: enough for a dropping jaw on a turned head
_SEEN_AROUND = 4  # rows around a pixel that the layers at full size see: 2 by unfolding, 1 by each convolution
_ALIGNED_SCALES = (2, 3, 4)  # grids of 24, 12 and 6 for 96 px


@dataclass(frozen=True, config=STRICT)
class GeneratorConfig:
    """Shape of a generator. image_size in pixels; width multiplies the channels; the flags are ablations.

    speech_encoder: name of the encoder whose features it hears; "": it hears mels.

    Raises pydantic's ValidationError, a ValueError, for a value out of range.
    """

    image_size: ImageSize = 96
    width: Width = 1.0
    use_cbam: bool = True
    use_ffc: bool = True
    use_adain: bool = True
    speech_encoder: str = ""

    @property
    def channels(self) -> tuple[int, ...]:
        """Return the channels at each scale, finest first, each a multiple of 8."""
        return tuple(max(8, round(count * self.width / 8) * 8) for count in _CHANNELS)


class UpStage(nn.Module):
    """Decoder stage: doubles the grid, joins the skip, and fuses both.

    coarse (N,C,H,W), skip (N,D,2H,2W) -> (N,outputs,2H,2W).
    """

    def __init__(self, coarse: int, skip: int, outputs: int, *, use_cbam: bool) -> None:
        super().__init__()
        self.fuse = ResidualCBAM(coarse + skip, outputs, use_cbam=use_cbam)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        doubled = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        fused: Tensor = self.fuse(torch.cat([doubled, skip], dim=1))
        return fused


class FinestStage(nn.Module):
    """Last decoder stage: unfolds the channels of the half-size map into pixels, joins both skips, and convolves.

    coarse (N,C,S/2,S/2), features (N,D,S,S), pixels (N,E,S,S), D + E = skip -> (N,outputs,S,S), or only its rows from
    2 * top on. Without attention, which costs most at full size.
    """

    def __init__(self, coarse: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.unfold = nn.Sequential(*conv_norm(coarse, 4 * outputs), nn.ReLU(), nn.PixelShuffle(2))
        self.fuse = nn.Sequential(*conv_norm(outputs + skip, outputs), nn.ReLU())

    def forward(self, coarse: Tensor, features: Tensor, pixels: Tensor, top: int = 0) -> Tensor:
        unfolded, skips = self.unfold(coarse[:, :, top:]), [features, pixels.to(features.dtype)]
        fused: Tensor = self.fuse(torch.cat([unfolded, *(skip[:, :, 2 * top :] for skip in skips)], dim=1))
        return fused


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Output for N faces, at the network's own size S. All float32.

    offsets (N,2,S/2,S/2): distance from each pixel to its source, x and y, in halves of the picture. colours (N,3,S,S)
    in 0..1. mask (N,1,S,S) in 0..1: how much of the colours is shown.
    """

    offsets: Tensor
    colours: Tensor
    mask: Tensor

    def compose(self, known: Tensor) -> Tensor:
        """Displace known pixels (N,3,P,P) in 0..1 and blend in the colours, for any size P. Returns (N,3,P,P)."""
        size = known.shape[2]
        colours, mask = self.colours, self.mask
        if size != colours.shape[2]:
            colours = F.interpolate(colours, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)
            mask = F.interpolate(mask, size=(size, size), mode="bilinear", align_corners=False)
        return torch.lerp(displace(known, self.offsets), colours, mask)


def join_faces(target: Tensor, reference: Tensor, hidden_from: float) -> Tensor:
    """Hide the lower rows of the target and join the reference.

    Two (N,3,S,S) in 0..1; hidden_from: the first hidden row, as a share of the height. Returns (N,6,S,S) in 0..1,
    channels last in memory; hidden rows are 0.
    """
    masked = target.clone()
    masked[:, :, round(target.shape[2] * hidden_from) :] = 0
    return torch.cat([masked, reference], dim=1).contiguous(memory_format=torch.channels_last)


def known_face(target: Tensor, reference: Tensor, hidden_from: float) -> Tensor:
    """Join the known pixels: the target above the first hidden row, the reference below. Two (N,3,P,P) -> (N,3,P,P).

    hidden_from: the first hidden row, as a share of the height.
    """
    row = round(target.shape[2] * hidden_from)
    return torch.cat([target[:, :, :row], reference[:, :, row:]], dim=2)


def displace(known: Tensor, offsets: Tensor) -> Tensor:
    """Read each pixel at its place plus its offset. known (N,3,P,P), offsets (N,2,H,H) -> (N,3,P,P) float32."""
    size = known.shape[2]
    offset = F.interpolate(offsets, size=(size, size), mode="bilinear", align_corners=False)
    centres = (torch.arange(size, device=known.device, dtype=torch.float32) * 2 + 1) / size - 1
    x, y = offset[:, 0] + centres, offset[:, 1] + centres[:, None]
    grid = torch.stack([x, y], dim=3)
    return F.grid_sample(known.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


class Displacement(nn.Module):
    """Displacement of pixels: a sum of shared fields, weighed by the coarsest map, plus a field of each face's own.

    coarse (N,D,S/16,S/16), features (N,C,S/2,S/2) -> offsets (N,2,S/2,S/2) float32. Crops lie on a template, so an
    opening jaw is much the same field in every face. No pixel is moved by more than a fifth of the picture.
    """

    def __init__(self, coarse: int, channels: int, grid: int) -> None:
        super().__init__()
        self.weights = nn.Linear(coarse * grid * grid, _FIELDS)
        self.fields = nn.Parameter(torch.randn(_FIELDS, 2, 2 * grid, 2 * grid) * 0.02)
        self.own = nn.Conv2d(channels, 2, 3, padding=1)
        nn.init.zeros_(self.own.weight)
        if self.own.bias is not None:
            nn.init.zeros_(self.own.bias)

    def forward(self, coarse: Tensor, features: Tensor) -> Tensor:
        weights = self.weights(coarse.contiguous().flatten(1)).float()
        shared = torch.einsum("nk,kdhw->ndhw", weights, self.fields.float())
        shared = F.interpolate(shared, size=features.shape[2:], mode="bilinear", align_corners=False)
        return torch.tanh(shared + self.own(features).float()) * _REACH


class Generator(nn.Module):
    """Network that draws faces which say a sound. faces (N,6,S,S) in 0..1, sound -> `Drawing`.

    sound: mels (N,1,80,32) in -4..4, or features (N,1,20,384) of a speech encoder, as the config says.
    movement: see `Hearing.emphasised`.

    LPIPS-AttnWav2Lip, https://arxiv.org/abs/2602.00189, with the additions above.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.faces = FaceEncoder(channels, use_cbam=config.use_cbam)
        # Trained separately, and the same in all ablations.
        self.hearing = Hearing(HearingConfig(speech_encoder=config.speech_encoder))
        audio = channels[-1] // 2
        self.cue = nn.Linear(CHANNELS, LATENT)
        self.hear = nn.Linear(LATENT, audio)  # its name is part of the file format
        self.fuse = ResidualCBAM(channels[-1] + audio, channels[-1], use_cbam=config.use_cbam)
        # The finest stage gets the input pixels themselves beside their features.
        finest = FinestStage(channels[1], channels[0] + 6, _FINEST)
        ups = (UpStage(coarse, out, out, use_cbam=config.use_cbam) for out, coarse in pairwise(channels[1:]))
        self.ups = nn.ModuleList([finest, *ups])
        self.alignments = nn.ModuleDict(
            {
                str(scale): SemanticAlignment(
                    channels[scale],
                    config.image_size >> scale,
                    LATENT,
                    use_ffc=config.use_ffc,
                    use_adain=config.use_adain,
                )
                for scale in _ALIGNED_SCALES
            }
        )
        self.displace = Displacement(channels[-1], channels[1], config.image_size >> 4)
        self.head = nn.Conv2d(_FINEST, 4, 3, padding=1)  # red, green, blue, mask
        if self.head.bias is not None:
            nn.init.constant_(self.head.bias[3], -2.0)

    def forward(self, faces: Tensor, sound: Tensor, movement: Tensor | None = None, first_row: int = 0) -> Drawing:
        latent, predicted = self.hearing(sound)
        return self.draw(faces, latent, self.hearing.emphasised(predicted, movement), first_row)

    def draw(self, faces: Tensor, latent: Tensor, articulation: Tensor, first_row: int = 0) -> Drawing:
        """Draw faces (N,6,S,S) with an audio latent (N,512) and a normal articulation (N,7), predicted or known.

        first_row: from this row on, colours and mask are drawn; the rows above it are left out.
        """
        features = self.faces(faces)
        latent = torch.relu(latent + self.cue(articulation))
        coarsest = features[-1]
        audio = self.hear(latent)[:, :, None, None].expand(-1, -1, *coarsest.shape[2:])
        x: Tensor = self.fuse(torch.cat([coarsest, audio.to(coarsest.dtype)], dim=1))
        x = coarse = self._align(x, latent, len(features) - 1)
        for scale in range(len(features) - 2, 0, -1):
            x = self._align(self.ups[scale](x, features[scale]), latent, scale)
        top = max(0, first_row - _SEEN_AROUND) // 2
        finest = self.ups[0](x, features[0], faces, top)
        drawn = torch.sigmoid(self.head(finest).float())[:, :, first_row - 2 * top :]
        return Drawing(self.displace(coarse, x), drawn[:, :3], drawn[:, 3:])

    def _align(self, x: Tensor, latent: Tensor, scale: int) -> Tensor:
        if scale not in _ALIGNED_SCALES:
            return x
        aligned: Tensor = self.alignments[str(scale)](x, latent)
        return aligned
