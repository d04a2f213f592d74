"""Find the time of each phoneme in a recording whose text is known, by dynamic time warping.

Several synthetic voices speak the text at the pace of the recording. Each is matched with the recording, and the times
of its phonemes are taken from the best match. Both sides are compared without their pauses, because people and
synthesisers pause at different places. The features are the mel spectrum, normalised to mean 0 and deviation 1 on each
side, and its change. Between synthetic voices, whose true times are known, the median error of a boundary is about
25 ms.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import median_filter

from model.arrays import F32, F64, I64
from model.audio import MEL_RATE_HZ, SAMPLE_RATE_HZ, mel_spectrogram
from model.corpus.speech.espeak import espeak
from model.corpus.speech.speech import Phone, Utterance, Voice, flite_binary, resample, say, with_closures
from model.errors import TimingError
from model.runs import find_runs

_CLICK_COLUMNS = 6  # a shorter sound between two pauses is not speech
_PAUSE_S = 0.12  # a shorter silence is the closure of a stop
_VOICES = ("m3", "f2", "Andrea", "Michael")
_FLITE_VOICES = ("slt", "rms")
_MAX_COST = 1.6
_LEAST_SPOKEN = 0.7  # share of speech between first and last sound: with more pauses the match is not reliable


def spoken_columns(samples: F32) -> I64:
    """Return the numbers of the mel columns of sound (n,) float32 at 16 kHz that are not in a pause, in order."""
    hop = SAMPLE_RATE_HZ // MEL_RATE_HZ
    count = len(samples) // hop
    power = np.square(samples[: count * hop].astype(np.float64)).reshape(count, hop).mean(axis=1)
    level_db = 10 * np.log10(power + 1e-10)
    top_db = np.percentile(level_db, 95)
    floor_db = max(np.percentile(level_db, 5), top_db - 45)
    quiet = median_filter(level_db, 5) < floor_db + 0.4 * (top_db - floor_db)
    quiet |= level_db < -75
    spoken = np.ones(count, bool)
    for start, end in find_runs(quiet):
        if (end - start) / MEL_RATE_HZ >= _PAUSE_S or start == 0 or end == count:
            spoken[start:end] = False
    for start, end in find_runs(spoken):
        if end - start < _CLICK_COLUMNS:
            spoken[start:end] = False
    return np.flatnonzero(spoken)


def _features(samples: F32, columns: I64) -> F32:
    """Return the features of these mel columns, (len(columns), 53) float32: 26 bands, their change, loudness."""
    mel = mel_spectrogram(samples)[:, columns].astype(np.float64)
    bands = mel[:78].reshape(26, 3, -1).mean(axis=1)
    shape = (bands - bands.mean(axis=1, keepdims=True)) / (bands.std(axis=1, keepdims=True) + 1e-3)
    change = np.gradient(shape, axis=1) if shape.shape[1] > 1 else np.zeros_like(shape)
    loud = bands.mean(axis=0, keepdims=True)
    loud = 2 * (loud - loud.mean()) / (loud.std() + 1e-3)
    return np.asarray(np.concatenate([shape, 1.5 * change, loud]).T, np.float32)


def warp(first: F32, second: F32) -> tuple[F64, float]:
    """Match two feature sequences (N, D) and (M, D) from start to end, each at most twice as fast as the other.

    Returns the position in `second` of each row of `first`, (N,) in rising order, and the mean distance along the path.
    Raises TimingError if the lengths differ too much.
    """
    n, m = len(first), len(second)
    if min(n, m) < 3 or max(n, m) > 1.9 * min(n, m):
        raise TimingError(f"{n} and {m} columns of speech cannot be matched")
    cost = np.sqrt(np.maximum(0, (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T))
    cost = cost / np.sqrt(first.shape[1])
    total = np.full((n, m), np.inf)
    came = np.zeros((n, m), np.int8)
    total[0, 0] = cost[0, 0]
    blank = np.full(m, np.inf)
    for i in range(1, n):
        before, two_before = total[i - 1], total[i - 2] if i > 1 else blank
        options = np.full((3, m), np.inf)
        options[0, 1:] = before[:-1] + 1.1 * cost[i, 1:]
        options[1, 1:] = two_before[:-1] + cost[i - 1, 1:] + cost[i, 1:]
        options[2, 2:] = before[:-2] + cost[i, 1:-1] + cost[i, 2:]
        came[i] = options.argmin(axis=0)
        total[i] = options.min(axis=0)
    if not np.isfinite(total[-1, -1]):
        raise TimingError("no path joins the two ends")
    i, j = n - 1, m - 1
    pairs = [(i, j)]
    while i > 0 and j > 0:
        step = ((1, 1), (2, 1), (1, 2))[came[i, j]]
        i, j = i - step[0], j - step[1]
        pairs.append((i, j))
    rows, places = np.array(pairs[::-1], dtype=np.float64).T
    return np.interp(np.arange(n), rows, places), float(total[-1, -1] / max(n, m))


def _spoken_at_pace(text: str, language: str, columns: int) -> list[tuple[F32, Sequence[Phone]]]:
    """Speak the text with several voices at the pace that gives about `columns` mel columns of speech."""
    found: list[tuple[F32, Sequence[Phone]]] = []
    names = {"en": "en-us"}
    for variant in _VOICES:
        rate = 165
        for _ in range(2):
            samples, rate_hz, phones = espeak().speak(text, f"{names.get(language, language)}+{variant}", rate)
            sound = resample(samples, rate_hz)
            rate = int(np.clip(rate * len(spoken_columns(sound)) / max(1, columns), 80, 420))
        found.append((sound, with_closures(phones)))
    if language == "en" and flite_binary():
        for name in _FLITE_VOICES:
            utterance = say(Voice("flite", name, "en", "train"), text, random.Random(0))
            found.append((utterance.samples, utterance.phones))
    return found


def align(samples: F32, text: str, language: str, voice: str = "recording") -> Utterance:
    """Return a recording ((n,) float32 at 16 kHz) as an utterance with the phonemes of `text` at their times.

    Raises TimingError if the text does not fit, and EspeakError if eSpeak NG does not know the language.
    """
    recorded = spoken_columns(samples)
    if len(recorded) < 10:
        raise TimingError("the recording holds no speech")
    if len(recorded) < _LEAST_SPOKEN * (recorded[-1] - recorded[0] + 1):
        raise TimingError("the recording holds too many pauses to be timed")
    target = _features(samples, recorded)
    best: tuple[float, list[Phone]] | None = None
    for sound, phones in _spoken_at_pace(text, language, len(recorded)):
        spoken = spoken_columns(sound)
        try:
            places, cost = warp(_features(sound, spoken), target)
        except TimingError:
            continue
        if best is None or cost < best[0]:
            best = (cost, _transfer(phones, spoken, places, recorded, len(samples) / SAMPLE_RATE_HZ))
    if best is None or best[0] > _MAX_COST:
        raise TimingError(f"the words do not fit the recording: {text[:60]!r}")
    return Utterance(samples, tuple(best[1]), voice)


def _transfer(phones: Sequence[Phone], spoken: I64, places: F64, recorded: I64, duration_s: float) -> list[Phone]:
    """Move phonemes from the time of a synthetic voice to that of the recording, and add the recording's pauses.

    spoken, recorded: mel columns of speech of the voice (N,) and of the recording (M,). places: position in `recorded`
    of each entry of `spoken`, (N,).
    """

    def at(time_s: float) -> float:
        return float(np.interp(time_s * MEL_RATE_HZ, spoken + 0.5, places))

    found: list[Phone] = []
    gaps = np.flatnonzero(np.diff(recorded) > 1)
    pauses = [(recorded[g] + 1, recorded[g + 1]) for g in gaps]
    pauses += [(recorded[-1] + 1, round(duration_s * MEL_RATE_HZ))]
    for phone in phones:
        if phone.symbol:
            start, end = at(phone.start_s), at(phone.end_s)
            columns = recorded[max(0, round(start)) : max(round(start) + 1, round(end))]
            runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
            run = max(runs, key=len)
            if len(run):
                found.append(Phone(phone.symbol, run[0] / MEL_RATE_HZ, (run[-1] + 1) / MEL_RATE_HZ))
    found += [Phone("", start / MEL_RATE_HZ, end / MEL_RATE_HZ) for start, end in pauses if end > start]
    found.append(Phone("", 0.0, recorded[0] / MEL_RATE_HZ))
    return sorted((phone for phone in found if phone.end_s > phone.start_s), key=lambda phone: phone.start_s)
