"""Synthetic voices and their utterances: sound, and phonemes with times.

There are two synthesisers. eSpeak NG is always there and has many languages and voices. flite is used if its binary is
on PATH; its statistical voices were trained on recorded people. Both return the times of their phonemes, so the labels
are exact. All phonemes are returned in IPA. Voices are held out by name: a voice of the split "val" is never used in
"train".
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from model.arrays import F32
from model.audio import SAMPLE_RATE_HZ
from model.corpus.speech.espeak import espeak
from model.corpus.speech.sentences import sentence


@dataclass(frozen=True)
class Phone:
    """Spoken sound: its IPA symbol, "" for a pause, and its start and end in seconds."""

    symbol: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Utterance:
    """Spoken text: samples ((n,) float32, -1..1, at 16 kHz), phonemes in order, and the name of the voice."""

    samples: F32
    phones: tuple[Phone, ...]
    voice: str

    @property
    def duration_s(self) -> float:
        """Return the length in seconds."""
        return len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Voice:
    """Voice of a synthesiser ("espeak" or "flite"), with its language and split."""

    engine: str
    ident: str
    language: str
    split: str

    @property
    def name(self) -> str:
        """Return a name that is unique among all voices."""
        return f"{self.engine}:{self.ident}"


_VARIANTS_TRAIN = (
    "f1 f2 f4 f5 m1 m2 m3 m4 m6 m7 m8 Alex Alicia Andrea Annie Denis Diogo Gene Hugo Jacky Lee Marco Mario Michael "
    "adam anika antonio aunty benjamin boris caleb david edward gustave ian iven john linda max michel pablo paul "
    "sandro shelby steph travis zac"
).split()
_VARIANTS_VAL = "f3 m5 Andy Reed belinda quincy marcelo victor".split()
_ESPEAK_LANGUAGES = {
    "en": ("en-us", "en-gb-scotland", "en-gb-x-rp", "en-029"),
    "es": ("es", "es-419"),
    "pt": ("pt", "pt-br"),
    **{language: (language,) for language in ("fr", "de", "it", "ru", "pl", "nl", "tr", "cmn", "ja")},
}
_FLITE_VOICES = {"slt": "train", "rms": "train", "kal16": "train", "awb": "val"}
_FLITE_SHARE = 0.45
_ENGLISH_SHARE = 0.6

# Stops. eSpeak reports them at the burst, which follows a closure; voiced ones only if they are short.
_STOPS = ("p", "t", "k", "c", "q")
_VOICED_STOPS = ("b", "d", "ɡ", "ɟ")
_CLOSURE_S = 0.055
_SHORT_STOP_S = 0.04

# The phone set of flite, which is that of the CMU dictionary, in IPA.
_FLITE_IPA = dict(
    pair.split(":")
    for pair in (
        "aa:ɑː ae:æ ah:ʌ ao:ɔː aw:aʊ ax:ə axr:ɚ ay:aɪ b:b ch:tʃ d:d dh:ð dx:ɾ eh:ɛ er:ɜː ey:eɪ f:f g:ɡ hh:h hv:h "
        "ih:ɪ ix:ɪ iy:iː jh:dʒ k:k l:l m:m n:n ng:ŋ ow:oʊ oy:ɔɪ p:p r:ɹ s:s sh:ʃ t:t th:θ uh:ʊ uw:uː v:v w:w y:j z:z "
        "zh:ʒ el:l em:m en:n"
    ).split()
)


@lru_cache(maxsize=1)
def flite_binary() -> str | None:
    """Return the path of flite, None if it is not installed."""
    return shutil.which("flite")


def voices(split: str) -> list[Voice]:
    """Return every voice of a split ("train" or "val") that is available here, in a fixed order."""
    variants = _VARIANTS_TRAIN if split == "train" else _VARIANTS_VAL
    found = [
        Voice("espeak", f"{name}+{variant}", language, split)
        for language, names in _ESPEAK_LANGUAGES.items()
        for name in names
        for variant in variants
    ]
    if flite_binary():
        found += [Voice("flite", name, "en", own) for name, own in _FLITE_VOICES.items() if own == split]
    return found


def choose_voice(rng: random.Random, split: str) -> Voice:
    """Draw a voice of a split: often one of flite, if there is any; else one of eSpeak, mostly English."""
    found = voices(split)
    recorded = [voice for voice in found if voice.engine == "flite"]
    if recorded and rng.random() < _FLITE_SHARE:
        return rng.choice(recorded)
    english = rng.random() < _ENGLISH_SHARE
    return rng.choice([v for v in found if v.engine == "espeak" and (v.language == "en") == english])


def resample(samples: F32, rate_hz: int, to_hz: int = SAMPLE_RATE_HZ) -> F32:
    """Resample (n,) samples at `rate_hz` to (m,) float32 at `to_hz`, with a low-pass filter."""
    divisor = gcd(rate_hz, to_hz)
    if rate_hz == to_hz:
        return samples.astype(np.float32)
    return np.asarray(resample_poly(samples, to_hz // divisor, rate_hz // divisor), dtype=np.float32)


def _say_with_espeak(voice: Voice, text: str, rng: random.Random) -> Utterance:
    """Speak a text with eSpeak NG. Raises EspeakError."""
    samples, rate_hz, phones = espeak().speak(
        text,
        voice.ident,
        words_a_minute=rng.randint(125, 210),
        pitch=rng.randint(25, 75),
        pitch_range=rng.randint(20, 80),
        seed=rng.randrange(1, 2**31),
    )
    return Utterance(resample(samples, rate_hz), with_closures(phones), voice.name)


def with_closures(phones: list[tuple[str, float, float]]) -> tuple[Phone, ...]:
    """Move the start of each stop to its closure.

    eSpeak reports a stop at its burst and counts the closure before it to the previous sound.
    """
    symbols = [symbol for symbol, _, _ in phones]
    edges = [[start_s, end_s] for _, start_s, end_s in phones]
    for symbol, before, this in zip(symbols[1:], edges, edges[1:], strict=False):
        if symbol[:1] in _STOPS or (symbol[:1] in _VOICED_STOPS and this[1] - this[0] < _SHORT_STOP_S):
            before[1] = this[0] = this[0] - min(_CLOSURE_S, 0.5 * (this[0] - before[0]))
    return tuple(Phone(symbol, start_s, end_s) for symbol, (start_s, end_s) in zip(symbols, edges, strict=True))


def _say_with_flite(voice: Voice, text: str, rng: random.Random) -> Utterance:
    """Speak a text with flite. Raises FileNotFoundError or subprocess.SubprocessError."""
    binary = flite_binary()
    if binary is None:
        raise FileNotFoundError("flite is not on PATH")
    stretch = rng.uniform(0.85, 1.2)
    plain = re.sub(r"[^a-z0-9,.' ]", "", text.lower())
    with tempfile.TemporaryDirectory(prefix="lipsync-flite-") as folder:
        sound = Path(folder) / "speech.wav"
        command = [binary, "-voice", voice.ident, "--setf", f"duration_stretch={stretch:.3f}", "-psdur", "-t", plain]
        done = subprocess.run(
            [*command, "-o", str(sound)],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        with wave.open(str(sound), "rb") as reader:
            rate_hz = reader.getframerate()
            pcm = np.frombuffer(reader.readframes(reader.getnframes()), dtype=np.int16)
    phones, start_s = [], 0.0
    for item in done.stdout.split():
        symbol, _, end = item.partition(":")
        phones.append(Phone(_FLITE_IPA.get(symbol, ""), start_s, float(end)))
        start_s = float(end)
    return Utterance(resample(pcm.astype(np.float32) / 32768.0, rate_hz), tuple(phones), voice.name)


def say(voice: Voice, text: str, rng: random.Random) -> Utterance:
    """Speak a text at a random pace and pitch.

    Raises EspeakError, FileNotFoundError or subprocess.SubprocessError if the synthesiser fails.
    """
    return (_say_with_flite if voice.engine == "flite" else _say_with_espeak)(voice, text, rng)


def change_size(utterance: Utterance, factor: float) -> Utterance:
    """Return an utterance as of a smaller (factor > 1) or larger speaker: pitch, formants and pace change together."""
    to_hz = max(1, round(SAMPLE_RATE_HZ / factor / 50) * 50)
    scale = to_hz / SAMPLE_RATE_HZ
    phones = tuple(Phone(p.symbol, p.start_s * scale, p.end_s * scale) for p in utterance.phones)
    return Utterance(resample(utterance.samples, SAMPLE_RATE_HZ, to_hz), phones, utterance.voice)


def join(parts: list[Utterance], pauses_s: list[float], duration_s: float) -> Utterance:
    """Join utterances with a pause before each, then cut them or add silence to give `duration_s` seconds.

    parts and pauses_s have the same length, at least 1.
    """
    samples = np.zeros(round(duration_s * SAMPLE_RATE_HZ), dtype=np.float32)
    phones: list[Phone] = []
    at_s = 0.0
    for part, pause_s in zip(parts, pauses_s, strict=True):
        at_s = round((at_s + pause_s) * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
        first = round(at_s * SAMPLE_RATE_HZ)
        piece = part.samples[: max(0, len(samples) - first)]
        samples[first : first + len(piece)] = piece
        phones += [Phone(p.symbol, p.start_s + at_s, p.end_s + at_s) for p in part.phones]
        at_s += part.duration_s
    return Utterance(samples, tuple(p for p in phones if p.start_s < duration_s), parts[0].voice)


def talk(rng: random.Random, voice: Voice, duration_s: float) -> Utterance:
    """Speak random sentences with pauses between them for exactly `duration_s` seconds."""
    factor = rng.choice((1.0, rng.uniform(0.84, 1.2)))
    parts: list[Utterance] = []
    pauses_s: list[float] = []
    length_s = 0.0
    while length_s < duration_s:
        parts.append(change_size(say(voice, sentence(rng, voice.language), rng), factor))
        pauses_s.append(rng.choice((0.0, rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.9))))
        length_s += parts[-1].duration_s + pauses_s[-1]
    return join(parts, pauses_s, duration_s)
