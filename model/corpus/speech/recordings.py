"""Recorded people for the puppets' voices, so that human speech is in the domain.

A folder with INDEX.csv (file, lang, transcript, source, licence, note) gives sounds with their words; only those in the
public domain or under MIT or CC-BY are learnt from, share-alike and copyleft ones are not. Phonemes get their times
from timing.py. One speaker is one voice; speakers are held out whole.
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
_HELD_OUT = ("ms",)
SHORTEST_S = 0.1


@dataclass(frozen=True)
class Recording:
    """Keep one recorded sentence with its phonemes, and the split its speaker belongs to."""

    utterance: Utterance
    split: str


def list_recordings(speech_dir: Path) -> list[dict[str, str]]:
    """List the rows of a folder's INDEX.csv that may be learnt from. Raises MaterialError without a usable one."""
    return [row for row in read_index(speech_dir, ("file", "lang", "transcript", "licence")) if _may_learn_from(row)]


def read_recordings(speech_dir: Path, tell: Callable[[str], None] = lambda _: None) -> list[Recording]:
    """Read and time every usable recording of a folder; the others are told and left out.

    Raises MaterialError without a usable INDEX.csv. Takes a few seconds for each minute of sound.
    """
    found: list[Recording] = []
    for row in list_recordings(speech_dir):
        speaker = _speaker(row)
        try:
            samples = _read_sound(speech_dir / row["file"])
            utterance = align(samples, row["transcript"], row["lang"], f"recorded:{speaker}")
        except (TimingError, EspeakError, SoundError) as error:
            tell(f"{row['file']} left out: {error}")
            continue
        found.append(Recording(utterance, "val" if speaker in _HELD_OUT else "train"))
    return found


def _may_learn_from(row: Mapping[str, str]) -> bool:
    licence = row["licence"]
    free = any(licence == name or licence.startswith(f"{name} ") for name in _FREE)
    return free and bool(row["transcript"]) and not row["file"].startswith("edge/") and row["file"].endswith(".wav")


def _speaker(row: Mapping[str, str]) -> str:
    """Name the speaker: the folder where one speaker fills it, else the first part of the file's name."""
    path = Path(row["file"])
    return path.parent.name if path.parent.name else path.stem.split("_")[0]


def _read_sound(path: Path) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return a file's samples, as one channel. Raises SoundError."""
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
    whole = len(content) // (2 * channels) * channels  # a file that was cut off may end within a sample
    pcm = np.frombuffer(content, np.int16, whole).reshape(-1, channels)
    if rate_hz < 1 or len(pcm) < SHORTEST_S * rate_hz:
        raise SoundError("it holds no sound")
    return resample(pcm.mean(axis=1, dtype=np.float32) / 32768.0, rate_hz)


def _from(utterance: Utterance, start_s: float) -> Utterance:
    """Return the part of an utterance from `start_s` on."""
    first = round(start_s * SAMPLE_RATE_HZ)
    shift_s = first / SAMPLE_RATE_HZ
    phones = tuple(
        Phone(p.symbol, max(0.0, p.start_s - shift_s), p.end_s - shift_s) for p in utterance.phones if p.end_s > shift_s
    )
    return Utterance(utterance.samples[first:], phones, utterance.voice)


def replay(rng: random.Random, recordings: list[Recording], duration_s: float) -> Utterance:
    """Let one recorded speaker talk for exactly `duration_s`: parts of sentences, pitch and pace changed together."""
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
