"""What a network hears of a recording: for each frame a window of the mel spectrogram, or of a speech encoder's
features.

A checkpoint says which of the two it was trained with. Both are arrays (rows, columns) for one frame, so that nothing
else has to know the difference: (80, columns) for mels, (20, 384) for the features of Whisper tiny.en.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from model.arrays import F16, F32, F64
from model.audio import MEL_BANDS, SAMPLE_RATE_HZ, MelWindow, Samples, mel_windows
from model.speech_encoder.port import FEATURES, WINDOW_STEPS, SpeechEncoder, feature_windows


class Sound(Protocol):
    """Recording, ready to be cut into the windows of frames."""

    def windows(self, times_s: F64) -> F32:
        """Return the window of each frame time (N,) in seconds, (N, rows, columns) float32."""


@dataclass(frozen=True)
class MelSound:
    """Recording heard as mel spectrogram. samples: (n,) at 16 kHz, see model/audio.py; a memory map will do."""

    samples: Samples
    window: MelWindow

    def windows(self, times_s: F64) -> F32:
        """Return the mel window of each frame time, (N, 80, columns) in -4..4."""
        return mel_windows(self.samples, times_s, self.window)


@dataclass(frozen=True)
class EncodedSound:
    """Recording heard through a speech encoder. features: (T, 384) float16 or float32; a memory map will do."""

    features: F16 | F32

    def windows(self, times_s: F64) -> F32:
        """Return the features around each frame time, (N, 20, 384)."""
        return feature_windows(self.features, times_s)


class SoundReader(Protocol):
    """Front end of a network: it turns a recording into `Sound`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Return rows and columns of a window."""

    def read(self, samples: Samples) -> Sound:
        """Return the sound of a recording (n,) at 16 kHz."""


@dataclass(frozen=True)
class MelReader:
    """Front end of mel windows."""

    window: MelWindow

    @property
    def shape(self) -> tuple[int, int]:
        """Return 80 bands and the columns of the window."""
        return MEL_BANDS, self.window.columns

    def read(self, samples: Samples) -> Sound:
        """Return the recording itself; its columns are computed when they are asked for."""
        return MelSound(samples, self.window)


@dataclass(frozen=True)
class EncoderReader:
    """Front end of a speech encoder."""

    encoder: SpeechEncoder

    @property
    def shape(self) -> tuple[int, int]:
        """Return the steps of a window and the values of a step."""
        return WINDOW_STEPS, FEATURES

    def read(self, samples: Samples) -> Sound:
        """Encode the recording and keep its features in half precision, as a plan does; an empty one is silence."""
        sound = samples if len(samples) else np.zeros(1, np.int16)
        return EncodedSound(np.concatenate(list(self.encoder.encode(sound))).astype(np.float16))


def silent_window(reader: SoundReader) -> F32:
    """Return the window of a moment in two seconds of digital silence, (rows, columns) float32."""
    window: F32 = reader.read(np.zeros(2 * SAMPLE_RATE_HZ, np.int16)).windows(np.array([1.0]))[0]
    return window
