"""The silence gate: which parts of a voice are speech, so that the mouth rests in all others.

The level is measured in steps of 10 ms, without the constant part of the signal, and compared with the levels of the
same clip. A level well below the loud parts already opens the gate. A still lower level closes it after a delay, so
short pauses inside a word stay open. Three things correct that, because a level alone does not make speech:

- clicks: a sound that is loud for less than 50 ms, with no other near it, is no speech;
- steady sounds: a spectrum that stays alike for a quarter of a second is a tone or a noise;
- a second speaker who is much quieter: sound far below the loud parts is speech if it is voiced and comes in syllables.

Music is not looked for: the hearing was measured to keep the lips still in it. The gate opens and closes in short
fades.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.arrays import F32, I16
from model.audio import SAMPLE_RATE_HZ
from model.runs import find_runs
from model.speech_cues import APART, HOP, similarity, voicing

STEP: Final = SAMPLE_RATE_HZ // 100  # 10 ms
QUIET_DB: Final = -60.0  # a level below this is never speech, unless it is clearly voiced
OPEN_BELOW_DB: Final = 30.0  # below the loud parts of the clip
CLOSE_BELOW_DB: Final = 36.0
ABOVE_NOISE_DB: Final = 9.0
LEAST_OPEN_DB: Final = 12.0  # in any noise, levels down to this far below the loud parts are speech
EARLY_STEPS: Final = 8  # the gate opens 80 ms before the level rises, for a soft beginning
LATE_STEPS: Final = 15  # the gate stays open for 150 ms after the level falls

CLICK_STEPS: Final = 5  # a syllable is near its peak for longer
CLICK_NEAR_DB: Final = 12.0
CLICK_LONGEST_STEPS: Final = 40  # with its echo
ALONE_STEPS: Final = 20  # the burst of a consonant is nearer than 200 ms to a vowel

STEPS_PER_HOP: Final = HOP // STEP
STEADY: Final = ((0.95, 5), (0.9, 10))  # similarity, for so many hops; of 131 recordings of speech none reaches half
NOTE_CHANGE_HOPS: Final = 3
REST_OF_MELODY_STEPS: Final = 60

QUIETEST_DB: Final = -72.0
VOICED: Final = 0.55
VOICED_SHARE: Final = 0.3
VOICED_HOPS: Final = 4
QUIET_RUN_STEPS: Final = 25
QUIET_GAP_STEPS: Final = 15
SMOOTH_STEPS: Final = 5
SYLLABLE_DB: Final = 6.0  # by which the level rises inside a quiet stretch; the echo of a loud one only falls

Flags = NDArray[np.bool_]


def levels_db(samples: I16) -> F32:
    """Return the level of each 10 ms of samples (n,) int16, (ceil(n / 160),) float32 in dB of full scale."""
    if not len(samples):
        return np.zeros(0, np.float32)
    sound = np.asarray(samples, np.float32) / 32768
    steps = np.concatenate([sound, np.full(-len(sound) % STEP, sound[-1], np.float32)]).reshape(-1, STEP)
    return np.asarray(20 * np.log10(np.maximum(steps.std(axis=1), 1e-6)), np.float32)


def gate_gain(levels: F32, samples: I16) -> F32:
    """Return the gain of each step, 1 during speech and 0 otherwise, (n,) float32 for levels (n,) in dB.

    samples: those whose levels they are, perhaps in a memory-mapped file.
    """
    sounds = _without_clicks(_loud_steps(levels), levels)
    sounds = _without_steady(sounds, _steady_steps(samples, sounds))
    sounds |= _quiet_speech(samples, levels, sounds)
    speech = np.zeros(len(levels) + EARLY_STEPS + LATE_STEPS, bool)
    for start, end in find_runs(sounds):
        speech[start : end + EARLY_STEPS + LATE_STEPS] = True
    return speech[EARLY_STEPS : EARLY_STEPS + len(levels)].astype(np.float32)


def _loud_steps(levels: F32) -> Flags:
    """Return the steps whose level opens the gate or keeps it open."""
    sounds = np.zeros(len(levels), bool)
    audible = levels[levels > QUIET_DB]
    if audible.size == 0:
        return sounds
    loud, noise = float(np.percentile(audible, 95)), float(np.percentile(levels, 10))
    opening = min(max(loud - OPEN_BELOW_DB, noise + ABOVE_NOISE_DB), loud - LEAST_OPEN_DB)
    closing = max(opening - (CLOSE_BELOW_DB - OPEN_BELOW_DB), QUIET_DB)
    opening = max(opening, QUIET_DB)
    is_open = False
    for at, level in enumerate(levels):
        is_open = bool(level > (closing if is_open else opening))
        sounds[at] = is_open
    return sounds


def _without_clicks(sounds: Flags, levels: F32) -> Flags:
    """Return the steps without short sounds that stand alone."""
    runs = find_runs(sounds)
    clicks = [_is_click(levels[start:end]) for start, end in runs]
    others = [run for run, is_click in zip(runs, clicks, strict=True) if not is_click]
    near = np.zeros(len(sounds) + 2 * ALONE_STEPS, bool)
    for start, end in others:
        near[start : end + 2 * ALONE_STEPS] = True
    kept = sounds.copy()
    for (start, end), is_click in zip(runs, clicks, strict=True):
        if is_click and not near[start + ALONE_STEPS : end + ALONE_STEPS].any():
            kept[start:end] = False
    return kept


def _is_click(levels: F32) -> bool:
    near_peak = int((levels > levels.max() - CLICK_NEAR_DB).sum())
    return len(levels) <= CLICK_LONGEST_STEPS and near_peak < CLICK_STEPS


def _steady_steps(samples: I16, sounds: Flags) -> Flags:
    """Return the steps of sounds whose spectrum stays alike."""
    hops = _hops_of(sounds)
    alike = np.zeros(-(-len(sounds) // STEPS_PER_HOP), np.float32)
    alike[hops] = similarity(samples, hops)
    steady = np.zeros(len(alike) + APART, bool)
    for least, count in STEADY:
        for start, end in find_runs(alike > least):
            if end - start >= count:
                steady[start : end + APART] = True
    # between two notes lies a moment that is like neither
    return np.repeat(_bridged(steady, NOTE_CHANGE_HOPS), STEPS_PER_HOP)[: len(sounds)]


def _without_steady(sounds: Flags, steady: Flags) -> Flags:
    """Return the steps without steady sounds, and without what is left of a melody between its notes."""
    kept = sounds & ~steady
    for start, end in find_runs(kept):
        touches = steady[max(0, start - 1) : end + 1].any()
        if touches and end - start < REST_OF_MELODY_STEPS:
            kept[start:end] = False
    return kept


def _quiet_speech(samples: I16, levels: F32, sounds: Flags) -> Flags:
    """Return the steps of speech that is too quiet beside the loud parts of the clip."""
    found = np.zeros(len(levels), bool)
    if not len(levels):
        return found
    floor = max(QUIETEST_DB, float(np.percentile(levels, 10)) + ABOVE_NOISE_DB)
    candidates = (levels > floor) & ~sounds
    runs = [run for run in find_runs(_bridged(candidates, QUIET_GAP_STEPS)) if run[1] - run[0] >= QUIET_RUN_STEPS]
    inside = np.zeros(len(levels), bool)
    for start, end in runs:
        inside[start:end] = True
    hops = _hops_of(inside)
    voiced = np.zeros(-(-len(levels) // STEPS_PER_HOP), bool)
    voiced[hops] = voicing(samples, hops) > VOICED
    steady = _steady_steps(samples, inside)
    for start, end in runs:
        part = voiced[start // STEPS_PER_HOP : -(-end // STEPS_PER_HOP)]
        enough = part.sum() >= VOICED_HOPS and part.mean() >= VOICED_SHARE
        if enough and _rises(levels[start:end]) and not steady[start:end].any():
            found[start:end] = True
    return found & ~sounds


def _rises(levels: F32) -> bool:
    """Return whether a level rises again after it fell, by as much as between two syllables."""
    smooth = np.convolve(levels, np.full(SMOOTH_STEPS, 1 / SMOOTH_STEPS), "valid")
    return bool((smooth - np.minimum.accumulate(smooth)).max() >= SYLLABLE_DB)


def _bridged(flags: Flags, gap: int) -> Flags:
    """Return flags with gaps of at most so many steps closed."""
    closed = flags.copy()
    runs = find_runs(flags)
    for (_, end), (start, _) in pairwise(runs):
        if start - end <= gap:
            closed[end:start] = True
    return closed


def _hops_of(flags: Flags) -> NDArray[np.int64]:
    """Return the numbers of the hops in which a step is set."""
    return np.asarray(np.unique(np.flatnonzero(flags) // STEPS_PER_HOP), np.int64)


def apply_gain(samples: I16, gain: F32, first_step: int = 0) -> I16:
    """Multiply samples (n,) int16 by the gain of their steps; the gain fades over one step.

    gain: of all steps of the recording; first_step: the step at which `samples` starts.
    """
    at = np.arange(len(samples)) / STEP + first_step - 0.5
    smooth = np.interp(at, np.arange(len(gain)), gain)
    faded: I16 = np.rint(np.asarray(samples, np.float32) * smooth).astype(np.int16)
    return faded


def gated(samples: I16) -> I16:
    """Return samples (n,) int16 with silence wherever nobody speaks."""
    return apply_gain(samples, gate_gain(levels_db(samples), samples)) if len(samples) else samples
