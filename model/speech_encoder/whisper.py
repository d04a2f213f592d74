"""The encoder of OpenAI's Whisper tiny.en (MIT licence), run by ctranslate2 on the CPU.

A recording is encoded in chunks of ten seconds at fixed places. Each chunk gives its middle eight seconds, and the
second before and after it is context. So a recording of any length takes the same memory, the features of a moment do
not depend on how long the recording is, and no step lies at the border of a chunk. The encoder runs on the CPU in
float32 on every machine: it takes less than a hundredth of the duration of the sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.arrays import F32
from model.audio import SAMPLE_RATE_HZ, Samples
from model.errors import CheckpointError
from model.speech_encoder.log_mel import log_mel
from model.speech_encoder.port import FEATURE_RATE_HZ, FEATURES, feature_count

NAME: Final = "whisper-tiny.en"
CORE_S: Final = 8  # of a chunk, seconds whose features are used
MARGIN_S: Final = 1  # context before and after them


class WhisperEncoder:
    """Speech encoder of Whisper tiny.en, loaded from a folder of ctranslate2's format.

    threads: CPU threads it computes on. Raises CheckpointError if the folder holds no such encoder.
    """

    name = NAME

    def __init__(self, folder: Path, threads: int = 1) -> None:
        import ctranslate2  # only here: a checkpoint of the mel front end needs neither its time nor its memory

        self._library: Any = ctranslate2
        try:
            self._network = ctranslate2.models.Whisper(
                str(folder), device="cpu", compute_type="float32", intra_threads=threads
            )
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"the speech encoder in the folder {folder.name} cannot be loaded") from error

    def encode(self, samples: Samples) -> Iterator[F32]:
        """Yield the features of a recording, eight seconds at a time; see `SpeechEncoder`."""
        steps = feature_count(len(samples))
        for first in range(0, steps, CORE_S * FEATURE_RATE_HZ):
            chunk = self._chunk(samples, first // FEATURE_RATE_HZ - MARGIN_S)
            yield chunk[MARGIN_S * FEATURE_RATE_HZ :][: min(CORE_S * FEATURE_RATE_HZ, steps - first)]

    def _chunk(self, samples: Samples, start_s: int) -> F32:
        """Encode the ten seconds from `start_s` on; beyond the ends of the recording there is silence."""
        first, count = start_s * SAMPLE_RATE_HZ, (CORE_S + 2 * MARGIN_S) * SAMPLE_RATE_HZ
        low, high = max(0, first), min(len(samples), first + count)
        sound = np.zeros(count, np.float32)
        sound[low - first : high - first] = _levels(samples[low:high])
        spectrum = self._library.StorageView.from_array(np.ascontiguousarray(log_mel(sound)[None]))
        features = np.array(self._network.encode(spectrum), np.float32)
        return np.nan_to_num(features.reshape(-1, FEATURES))


def _levels(samples: Samples) -> F32:
    """Convert samples to float32 in -1..1; a value that is not finite becomes 0."""
    if samples.dtype == np.int16:
        return np.asarray(samples, np.float32) / 32768
    return np.clip(np.nan_to_num(np.asarray(samples, np.float32), posinf=0.0, neginf=0.0), -1.0, 1.0)
