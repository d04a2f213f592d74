"""The config of a checkpoint: what a network is, and how crops and sound must be cut for it. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, field
from pathlib import Path
from typing import Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from model.audio import AROUND_FRAME, MEL_BANDS, STARTING_AT_FRAME, MelWindow
from model.framing import FOREHEAD_TO_CHIN, LOWER_FACE, Framing
from model.speech_encoder.port import FEATURES, WINDOW_STEPS
from model.typed_config import STRICT, ImageSize, Width, config_from

Architecture = Literal["lpips_attnwav2lip", "wav2lip"]
_COLUMNS = {"lpips_attnwav2lip": AROUND_FRAME.columns, "wav2lip": STARTING_AT_FRAME.columns}  # width of the mel input
_MOST_OFFSET_COLUMNS = 160  # two seconds
WAV2LIP_PX = 96


@dataclass(frozen=True, config=STRICT)
class CheckpointConfig:
    """Architecture of a checkpoint's network, and how crops and sound must be cut for it.

    image_size in pixels. The ablation flags and the width only matter to lpips_attnwav2lip; notes are for people.
    speech_encoder: name of the pretrained encoder whose features the network hears; "": it hears mels, cut as
    mel_window says.
    Raises pydantic's ValidationError, a ValueError, for a value out of range.
    """

    architecture: Architecture = "lpips_attnwav2lip"
    image_size: ImageSize = 96
    width: Width = 1.0
    use_cbam: bool = True
    use_ffc: bool = True
    use_adain: bool = True
    framing: Framing = field(default_factory=lambda: LOWER_FACE)
    mel_window: MelWindow = field(default_factory=lambda: AROUND_FRAME)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    speech_encoder: str = ""
    notes: str = ""

    @model_validator(mode="after")
    def _check_together(self) -> CheckpointConfig:
        """Raise ValueError if size or mel window do not fit the architecture."""
        if self.architecture == "wav2lip" and self.image_size != WAV2LIP_PX:
            raise ValueError(f"wav2lip draws {WAV2LIP_PX} px, not {self.image_size}")
        if self.architecture == "wav2lip" and self.speech_encoder:
            raise ValueError("wav2lip hears mels, not a speech encoder")
        window, columns = self.mel_window, _COLUMNS[self.architecture]
        if window.columns != columns:
            raise ValueError(f"mel_window.columns must be {columns} for {self.architecture}, not {window.columns}")
        if abs(window.offset_columns) > _MOST_OFFSET_COLUMNS:
            allowed = f"from {-_MOST_OFFSET_COLUMNS} to {_MOST_OFFSET_COLUMNS}"
            raise ValueError(f"mel_window.offset_columns must be {allowed}, not {window.offset_columns}")
        return self

    @property
    def sound_shape(self) -> tuple[int, int]:
        """Return rows and columns of the sound of one frame."""
        return (WINDOW_STEPS, FEATURES) if self.speech_encoder else (MEL_BANDS, self.mel_window.columns)

    @property
    def hidden_row(self) -> int:
        """Return the first row of a crop at the network's size that is hidden from the network."""
        return round(self.image_size * self.framing.hidden_from)

    @property
    def keeps_detail(self) -> bool:
        """Return whether crops may be larger than the network and keep their detail."""
        return self.architecture == "lpips_attnwav2lip"

    def to_json(self) -> str:
        """Return the config as one JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CheckpointConfig:
        """Read what `to_json` wrote; a field that an older file lacks has its default.

        Raises ValueError with one sentence for any other text. framing and mel_window must be there: with a wrong
        default the network would silently get the wrong part of the face or of the sound.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("it is not a table")
        for name in ("framing", "mel_window"):
            if name not in values:
                raise ValueError(f"{name} is missing")
        return config_from(cls, values)


PUBLISHED_WAV2LIP = CheckpointConfig(
    architecture="wav2lip",
    image_size=WAV2LIP_PX,
    framing=FOREHEAD_TO_CHIN,
    mel_window=STARTING_AT_FRAME,
    channel_order="bgr",
)


def default_checkpoint() -> Path:
    """Return the path of the weights that come with the package."""
    return Path(__file__).parent / "weights" / "lpips_attnwav2lip.safetensors"
