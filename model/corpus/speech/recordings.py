"""Recorded speech for puppets, so that the corpus holds human voices too.

A folder with INDEX.csv (file, lang, transcript, source, licence, note) lists recordings with their text. Only those in
the public domain or under MIT or CC-BY are used; share-alike and copyleft licences are not. timing.py finds the times
of the phonemes. Each speaker is one voice, and all recordings of a speaker are in the same split.
"""

from __future__ import annotations

import random
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.audio import SAMPLE_RATE_HZ
from model.corpus.materials.listing import read_index
from model.corpus.speech.speech import Phone, Utterance, change_size, join, resample
from model.corpus.speech.timing import align
from model.errors import EspeakError, SoundError, TimingError

_FREE = ("public domain", "MIT", "CC-BY-3.0", "CC-BY-4.0")
_HELD_OUT_SPEAKERS = ("ms",)
SHORTEST_S = 0.1


@dataclass(frozen=True)
class Recording:
    """Recorded sentence with its phonemes, and the split of its speaker."""

    utterance: Utterance
    split: str


def list_recordings(speech_dir: Path) -> list[dict[str, str]]:
    """List the rows of a folder's INDEX.csv whose recordings may be used.

    Raises MaterialError if INDEX.csv cannot be used.
    """
    return [row for row in read_index(speech_dir, ("file", "lang", "transcript", "licence")) if _may_learn_from(row)]


def read_recordings(speech_dir: Path, log: Callable[[str], None] = lambda _: None) -> list[Recording]:
    """Read and time every usable recording of a folder.

    The others are left out, and `log` receives a line for each. It takes a few seconds for each minute of sound. Raises
    MaterialError if INDEX.csv cannot be used.
    """
    found: list[Recording] = []
    for row in list_recordings(speech_dir):
        speaker = _speaker(row)
        try:
            samples = _read_sound(speech_dir / row["file"])
            utterance = align(samples, row["transcript"], row["lang"], f"recorded:{speaker}")
        except (TimingError, EspeakError, SoundError) as error:
            log(f"{row['file']} left out: {error}")
            continue
        found.append(Recording(utterance, "val" if speaker in _HELD_OUT_SPEAKERS else "train"))
    return found


def _may_learn_from(row: Mapping[str, str]) -> bool:
    """Return whether a recording has a text and a free licence, and does not come from a speech service (edge/)."""
    licence = row["licence"]
    free = any(licence == name or licence.startswith(f"{name} ") for name in _FREE)
    return free and bool(row["transcript"]) and not row["file"].startswith("edge/") and row["file"].endswith(".wav")


def _speaker(row: Mapping[str, str]) -> str:
    """Return the speaker: the name of the folder, or for a file without one the first part of its name."""
    path = Path(row["file"])
    return path.parent.name if path.parent.name else path.stem.split("_")[0]


def _read_sound(path: Path) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return the samples of a file, (n,) float32 at 16 kHz, as one channel. Raises SoundError."""
    try:
        with wave.open(str(path), "rb") as reader:
            if reader.getsampwidth() != 2:
                raise SoundError("it is not 16 bit")
            rate_hz, channels = reader.getframerate(), reader.getnchannels()
            content = reader.readframes(reader.getnframes())
    except OSError as error:
        raise SoundError(f"it cannot be opened ({error.strerror})") from error
    except (EOFError, wave.Error) as error:
        raise SoundError("it is not a sound file" + (f" ({error})" if str(error) else "")) from error
    whole = len(content) // (2 * channels) * channels  # an incomplete file may end inside a sample
    pcm = np.frombuffer(content, np.int16, whole).reshape(-1, channels)
    if rate_hz < 1 or len(pcm) < SHORTEST_S * rate_hz:
        raise SoundError("it holds no sound")
    return resample(pcm.mean(axis=1, dtype=np.float32) / 32768.0, rate_hz)


def _from(utterance: Utterance, start_s: float) -> Utterance:
    """Return an utterance without its first `start_s` seconds."""
    first = round(start_s * SAMPLE_RATE_HZ)
    shift_s = first / SAMPLE_RATE_HZ
    phones = tuple(
        Phone(p.symbol, max(0.0, p.start_s - shift_s), p.end_s - shift_s) for p in utterance.phones if p.end_s > shift_s
    )
    return Utterance(utterance.samples[first:], phones, utterance.voice)


def replay(rng: random.Random, recordings: list[Recording], duration_s: float) -> Utterance:
    """Join recordings of one speaker to exactly `duration_s` seconds.

    The recordings may start inside a sentence; pitch and pace are changed together.
    """
    first = rng.choice(recordings).utterance
    same = [one.utterance for one in recordings if one.utterance.voice == first.voice]
    factor = rng.choice((1.0, rng.uniform(0.82, 1.25)))
    parts: list[Utterance] = []
    pauses_s: list[float] = []
    length_s = 0.0
    while length_s < duration_s:
        whole = first if not parts else rng.choice(same)
        spare_s = max(0.0, whole.duration_s - duration_s)
        part = change_size(_from(whole, rng.uniform(0.0, spare_s)), factor)
        parts.append(part)
        pauses_s.append(rng.choice((0.0, rng.uniform(0.0, 0.4))))
        length_s += part.duration_s + pauses_s[-1]
    return join(parts, pauses_s, duration_s)
