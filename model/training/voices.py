"""Voices whose lips are known, and moments drawn from them: the training data of hearing.

There are two kinds. A synthetic voice is any folder of a corpus with `audio.npy` int16 (n,) at 16 kHz,
`articulation.npy` float32 (T,7) and `meta.json`; all seven channels are exact. A filmed voice is a clip that `lipsync
prepare` made of a real speaker; its `labels.npy` hold aperture and width of the lips, measured in the film, and nothing
else is known. Synthetic voices know closures, tongue and many languages; filmed lips know timing and how sounds run
into each other.

Filmed voices are drawn by speaker, so that a speaker with many clips counts no more than one with a single clip. How
far somebody opens the mouth cannot be heard. The lips of a filmed clip are therefore scaled to the usual movement. Some
people keep their lips apart in pauses. Nobody can hear that either, and a drawn mouth shall rest in silence, so filmed
lips count as closed wherever the silence gate is closed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.arrays import F32, F64, I16, I64
from model.articulation import CHANNELS, Channel
from model.audio import SAMPLE_RATE_HZ
from model.errors import CorpusError
from model.silence_gate import STEP, gate_gain, levels_db
from model.sound import Sound, SoundReader
from model.training.batches import Rng
from model.training.clips import folders_with, heard, read_articulation, read_labels, read_meta, read_samples

REST_PERCENTILE: Final = 5.0  # of a filmed aperture; lips that are measured as closed are never quite 0
USUAL_MOVEMENT: Final = (0.22, 0.3)  # standard deviation of aperture and width in a synthetic voice that speaks


@dataclass(frozen=True)
class VoiceClip:
    """One voice in memory: its sound, the time of each frame in seconds (T,), and its articulation, rows (T,7).

    Channels that are not known are NaN.
    """

    sound: Sound
    times_s: F64
    rows: F32


class Voices:
    """Voices of one split, each loaded at its first use and kept in memory.

    speakers: folders of the voices of each speaker; every synthetic voice is a speaker of its own.
    """

    def __init__(self, speakers: Sequence[Sequence[Path]], reader: SoundReader) -> None:
        self.folders = [folder for folders in speakers for folder in folders]
        self.reader = reader
        self._speakers = speakers
        self._loaded: dict[Path, VoiceClip] = {}

    @classmethod
    def open(cls, folder: Path, split: str, reader: SoundReader) -> Voices:
        """List the synthetic voices of one split of a corpus.

        Raises CorpusError for a folder without voices of that split, and for a voice whose meta.json is broken.
        """
        chosen = _of_split(folder, "articulation.npy", split)
        return cls([[path] for path in chosen], reader)

    @classmethod
    def open_filmed(cls, folder: Path, split: str, reader: SoundReader) -> Voices:
        """List the filmed voices of one split of a folder that `lipsync prepare` made. Raises CorpusError."""
        speakers: dict[str, list[Path]] = {}
        for path in _of_split(folder, "labels.npy", split):
            speakers.setdefault(_speaker(path), []).append(path)
        return cls([speakers[name] for name in sorted(speakers)], reader)

    def voice(self, number: int) -> VoiceClip:
        """Return a voice by number. Raises CorpusError naming a broken voice."""
        return self._voice(self.folders[number])

    def draw_moments(self, rng: Rng, voices: int, moments: int) -> list[tuple[F32, F32]]:
        """Draw moments from several voices: for each, sound (moments,rows,columns) and articulation (moments,7)."""
        drawn = []
        for _ in range(voices):
            folders = self._speakers[int(rng.integers(len(self._speakers)))]
            voice = self._voice(folders[int(rng.integers(len(folders)))])
            drawn.append(self.at(voice, rng.integers(len(voice.rows), size=moments)))
        return drawn

    def at(self, voice: VoiceClip, frames: I64) -> tuple[F32, F32]:
        """Return the sound (N,rows,columns) and the articulation (N,7) of some frames of a voice."""
        return voice.sound.windows(voice.times_s[frames]), voice.rows[frames]

    def _voice(self, folder: Path) -> VoiceClip:
        if folder not in self._loaded:
            self._loaded[folder] = _load(folder, self.reader)
        return self._loaded[folder]


def filmed_articulation(labels: F32) -> F32:
    """Return the articulation (T,7) of filmed lips, labels (T,2): aperture and width scaled to the usual movement.

    The other channels are NaN.
    """
    rows = np.full((len(labels), CHANNELS), np.nan, np.float32)
    for channel, rest in ((0, np.percentile(labels[:, 0], REST_PERCENTILE)), (1, np.median(labels[:, 1]))):
        moved = labels[:, channel] - rest
        rows[:, (Channel.APERTURE, Channel.WIDTH)[channel]] = moved * (USUAL_MOVEMENT[channel] / (moved.std() + 1e-6))
    return rows


def _of_split(folder: Path, name: str, split: str) -> list[Path]:
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {folder}")
    known = folders_with(folder, name)
    chosen = [path for path in known if read_meta(path).split == split]
    if not chosen:
        raise CorpusError(f"{folder} holds {len(known)} voices with {name}, none of them for {split!r}")
    return chosen


def _speaker(folder: Path) -> str:
    return str(json.loads((folder / "meta.json").read_text()).get("identity", folder.name))


def _load(folder: Path, reader: SoundReader) -> VoiceClip:
    fps = read_meta(folder).fps
    if (folder / "articulation.npy").is_file():
        rows = read_articulation(folder)
    else:
        labels = read_labels(folder)
        if labels is None or not np.isfinite(labels).all():
            raise CorpusError(f"{folder.name}: its labels must be finite")
        rows, frames = filmed_articulation(labels), len(labels)
        rows[~_speaks(read_samples(folder, frames, fps), frames, fps)[:, None] & np.isfinite(rows)] = 0.0
    sound = heard(folder, read_samples(folder, len(rows), fps), reader)
    return VoiceClip(sound, np.arange(len(rows)) / fps, rows)


def _speaks(samples: I16, frames: int, fps: float) -> NDArray[np.bool_]:
    """Return whether the silence gate is open in each frame, (frames,)."""
    gain = gate_gain(levels_db(samples), samples)
    steps = (np.arange(frames) / fps * SAMPLE_RATE_HZ / STEP).astype(np.int64)
    return np.asarray(gain[np.minimum(steps, len(gain) - 1)] > 0)
