"""What the network hears of the voices of a clip: decoded, gated and encoded once, and kept in one file.

The file of a job with one voice is what its last step wrote. The files of several voices are put behind each other, so
that a plan always has one file of sound, whose parts are read through memory maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from app.core.dubs import dub_name
from app.core.options import options_of_dub
from model.arrays import I16
from model.audio import SAMPLE_RATE_HZ
from model.sound import EncodedSound, MelSound, Sound
from model.speech_encoder.port import FEATURES
from worker.media.encoded_voice import FEATURES_FILE
from worker.media.silence_gate import GATED_FILE, gate_silence
from worker.media.sound_feed import PlayedSound
from worker.media.voice import VOICE_FILE, read_voice
from worker.pipeline.clip_cache import recall_features
from worker.pipeline.run_context import RunContext
from worker.pipeline.synthesis import FaceSynthesizer

SOUNDS_FILE: Final = "sounds.bin"
COPIED_BYTES: Final = 1024 * 1024  # at once


@dataclass(frozen=True)
class SoundPart:
    """Part of a file of sound: number of its first byte and number of bytes."""

    first: int
    size: int


@dataclass(frozen=True)
class HeardVoice:
    """Voice as the network hears it: gated samples (n,) int16 at 16 kHz, and the part of the sound file."""

    samples: I16
    part: SoundPart


def hear_voices(context: RunContext) -> tuple[list[HeardVoice], Path]:
    """Decode, gate and encode the voice of each dub; return them with the file of sound. Raises InputError."""
    voices = context.sources.played_voices
    dubs = context.options.segments
    if not dubs:
        samples, path = _hear(context, voices[0], context.work_dir, context.options.silence_gate, np.inf)
        return [HeardVoice(samples, SoundPart(0, path.stat().st_size))], path
    heard: list[HeardVoice] = []
    sounds = context.work_dir / SOUNDS_FILE
    with sounds.open("wb") as file:
        for number, (voice, dub) in enumerate(zip(voices, dubs, strict=True)):
            folder = context.work_dir / f"voice-{number}"
            folder.mkdir()
            gates = options_of_dub(context.options, dub).silence_gate
            samples, path = _hear(context, voice, folder, gates, dub.length_s)
            heard.append(HeardVoice(samples, SoundPart(file.tell(), path.stat().st_size)))
            with path.open("rb") as part:
                while block := part.read(COPIED_BYTES):
                    file.write(block)
    return heard, sounds


def voice_warnings(voices: Sequence[HeardVoice], is_whole_clip: bool) -> list[str]:
    """Return a warning for each voice in which nobody speaks; is_whole_clip: the one voice has no stretch to name."""
    warning = "The voice holds no speech, so the lips stay closed."
    silent = [number for number, voice in enumerate(voices) if not _holds_sound(voice.samples)]
    return [warning if is_whole_clip else f"{dub_name(number)}: {warning}" for number in silent]


def _holds_sound(samples: I16) -> bool:
    """Return whether a sample differs from 0; reads the samples (n,) int16 only up to there, in blocks."""
    starts = range(0, len(samples), COPIED_BYTES)
    return any(np.any(samples[start : start + COPIED_BYTES]) for start in starts)


def open_sound(path: Path, part: SoundPart, synthesizer: FaceSynthesizer) -> Sound:
    """Return the sound in a part of the file that `hear_voices` left, through a memory map."""
    if synthesizer.encoder is None:
        samples = np.memmap(path, np.int16, "r", part.first, (part.size // 2,))
        return MelSound(samples, synthesizer.config.mel_window)
    return EncodedSound(np.memmap(path, np.float16, "r", part.first, (part.size // (2 * FEATURES), FEATURES)))


def voice_length_s(voice: HeardVoice) -> float:
    """Return the duration of a voice in seconds."""
    return len(voice.samples) / SAMPLE_RATE_HZ


def _hear(context: RunContext, played: PlayedSound, folder: Path, gates: bool, longest_s: float) -> tuple[I16, Path]:
    """Return the samples of a voice, gated or not, and the file with what the network hears of them."""
    check = context.monitor.check
    samples, name = read_voice(played.path, played.facts, folder, check, played.begin_s, longest_s), VOICE_FILE
    if gates:
        samples, name = gate_silence(samples, folder), GATED_FILE
    if context.synthesizer.encoder is not None:
        recall_features(context.cache, context.synthesizer.encoder, samples, folder, check)
        name = FEATURES_FILE
    return samples, folder / name
