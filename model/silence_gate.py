"""The silence gate: which parts of a voice are speech, judged by its level, so that the mouth rests in all others.

The level is measured in steps of 10 ms, without the constant part of the signal, and compared with the levels of the
same clip. A level well below the loud parts already opens the gate. A still lower level closes it after a delay, so
short pauses inside a word stay open. The gate opens and closes in short fades.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from model.arrays import F32, I16
from model.audio import SAMPLE_RATE_HZ

STEP: Final = SAMPLE_RATE_HZ // 100  # 10 ms
QUIET_DB: Final = -60.0  # a level below this is never speech
OPEN_BELOW_DB: Final = 30.0  # below the loud parts of the clip
CLOSE_BELOW_DB: Final = 36.0
ABOVE_NOISE_DB: Final = 9.0
LEAST_OPEN_DB: Final = 12.0  # in any noise, levels down to this far below the loud parts are speech
EARLY_STEPS: Final = 8  # the gate opens 80 ms before the level rises, for a soft beginning
LATE_STEPS: Final = 15  # the gate stays open for 150 ms after the level falls


def levels_db(samples: I16) -> F32:
    """Return the level of each 10 ms of samples (n,) int16, (ceil(n / 160),) float32 in dB of full scale."""
    if not len(samples):
        return np.zeros(0, np.float32)
    sound = np.asarray(samples, np.float32) / 32768
    steps = np.concatenate([sound, np.full(-len(sound) % STEP, sound[-1], np.float32)]).reshape(-1, STEP)
    return np.asarray(20 * np.log10(np.maximum(steps.std(axis=1), 1e-6)), np.float32)


def gate_gain(levels: F32) -> F32:
    """Return the gain of each step, 1 during speech and 0 otherwise, (n,) float32 for levels (n,) in dB."""
    audible = levels[levels > QUIET_DB]
    if audible.size == 0:
        return np.zeros(len(levels), np.float32)
    loud, noise = float(np.percentile(audible, 95)), float(np.percentile(levels, 10))
    opening = min(max(loud - OPEN_BELOW_DB, noise + ABOVE_NOISE_DB), loud - LEAST_OPEN_DB)
    closing = max(opening - (CLOSE_BELOW_DB - OPEN_BELOW_DB), QUIET_DB)
    opening = max(opening, QUIET_DB)
    speech = np.zeros(len(levels) + EARLY_STEPS + LATE_STEPS, bool)
    is_open = False
    for at, level in enumerate(levels):
        is_open = level > (closing if is_open else opening)
        if is_open:
            speech[at : at + EARLY_STEPS + LATE_STEPS + 1] = True
    return speech[EARLY_STEPS : EARLY_STEPS + len(levels)].astype(np.float32)


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
    return apply_gain(samples, gate_gain(levels_db(samples))) if len(samples) else samples
