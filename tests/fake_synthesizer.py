"""Stand-in for the network in tests: it has the same interface, costs nothing and needs no checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from model.arrays import F32, U8
from model.audio import AROUND_FRAME, MelWindow
from model.composition import FilmedCrops, Part
from model.framing import LOWER_FACE, Framing
from model.interior import Interior
from model.known_pixels import PosedReference


@dataclass(frozen=True)
class FakeConfig:
    """Input shape of a network for 96-pixel crops."""

    architecture: str = "fake"
    image_size: int = 96
    framing: Framing = LOWER_FACE
    mel_window: MelWindow = AROUND_FRAME
    speech_encoder: str = ""
    keeps_detail: bool = False


@dataclass
class FakeSynthesizer:
    """Synthesizer that returns crops unchanged, with the hidden part in one colour, or with it darkened by loudness.

    paint: RGB colour of the hidden part; None: it is not painted. darkens: the louder the moment, the darker the hidden
    part. loudness: mean mel level of the middle of each crop's window, in the order of the calls.
    """

    paint: tuple[int, int, int] | None = None
    darkens: bool = False
    config: FakeConfig = field(default_factory=FakeConfig)
    encoder: None = None
    batch_size: int = 16
    device_name: str = "cpu"
    precision: str = "fp32"
    runtime: str = "fake"
    loudness: list[float] = field(default_factory=list)

    def synthesize(
        self,
        crops: FilmedCrops,
        sound: F32,
        references: U8 | Sequence[PosedReference] | None = None,
        interiors: Sequence[Interior | None] | None = None,
        movements: F32 | None = None,
        parts: Sequence[Part | None] | None = None,
    ) -> U8:
        """Return the crops, (N, S, S, 3) uint8, changed as the fields say."""
        pixels = crops.pixels
        size, window = self.config.image_size, self.config.mel_window
        assert pixels.shape[1:] == (size, size, 3)
        assert sound.shape == (len(pixels), 80, window.columns)
        assert np.isfinite(sound).all()
        middle = -window.offset_columns
        self.loudness += [float(mel[:, middle - 1 : middle + 1].mean()) for mel in sound]
        drawn = pixels.copy()
        hidden = np.s_[:, round(size * self.config.framing.hidden_from) :]
        if self.darkens:
            shade = np.clip((sound.mean(axis=(1, 2)) + 4.0) / 8.0, 0.0, 0.9)
            drawn[hidden] = (pixels[hidden] * (1.0 - shade[:, None, None, None])).astype(np.uint8)
        if self.paint is not None:
            drawn[hidden] = self.paint
        return drawn
