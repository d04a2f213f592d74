"""Voices whose articulation is known, and moments drawn from them: the training data of hearing.

A voice is any folder of a corpus with `audio.npy` int16 (n,) at 16 kHz, `articulation.npy` float32 (T,7) and
`meta.json`. A puppet has these among others; a voice without a face has only these. Spectrograms stay in memory in half
precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.arrays import F32, I64
from model.audio import MelWindow, first_columns, mel_spectrogram
from model.errors import CorpusError
from model.training.batches import Rng
from model.training.clips import cut_windows, folders_with, read_articulation, read_meta, read_samples


@dataclass(frozen=True)
class VoiceClip:
    """One voice in memory.

    mel (80,C) float16: the spectrogram; first (T,): the first column of each frame's window; rows (T,7): articulation.
    """

    mel: NDArray[np.float16]
    first: I64
    rows: F32


class Voices:
    """Voices of one split of a corpus, each loaded at its first use and kept in memory."""

    def __init__(self, folders: Sequence[Path], window: MelWindow) -> None:
        self.folders = folders
        self._window = window
        self._loaded: dict[Path, VoiceClip] = {}

    @classmethod
    def open(cls, folder: Path, split: str, window: MelWindow) -> Voices:
        """List the voices of one split of a folder.

        Raises CorpusError for a folder without voices of that split, and for a voice whose meta.json is broken.
        """
        if not folder.is_dir():
            raise CorpusError(f"there is no folder {folder}")
        known = folders_with(folder, "articulation.npy")
        chosen = [path for path in known if read_meta(path).split == split]
        if not chosen:
            raise CorpusError(f"{folder} holds {len(known)} voices with articulation, none of them for {split!r}")
        return cls(chosen, window)

    def voice(self, number: int) -> VoiceClip:
        """Return a voice by number. Raises CorpusError naming a broken voice."""
        folder = self.folders[number]
        if folder not in self._loaded:
            self._loaded[folder] = _load(folder, self._window)
        return self._loaded[folder]

    def draw_moments(self, rng: Rng, voices: int, moments: int) -> list[tuple[F32, F32]]:
        """Draw moments from several voices; for each voice, mels (moments,80,columns) and articulation (moments,7)."""
        drawn = []
        for number in rng.integers(len(self.folders), size=voices):
            voice = self.voice(int(number))
            drawn.append(self.at(voice, rng.integers(len(voice.rows), size=moments)))
        return drawn

    def at(self, voice: VoiceClip, frames: I64) -> tuple[F32, F32]:
        """Return the mel windows (N,80,columns) and the articulation (N,7) of some frames of a voice."""
        return cut_windows(voice.mel.astype(np.float32), voice.first[frames], self._window), voice.rows[frames]


def _load(folder: Path, window: MelWindow) -> VoiceClip:
    rows, fps = read_articulation(folder), read_meta(folder).fps
    samples = read_samples(folder, len(rows), fps)
    times_s = np.arange(len(rows)) / fps
    return VoiceClip(mel_spectrogram(samples).astype(np.float16), first_columns(times_s, window), rows)
