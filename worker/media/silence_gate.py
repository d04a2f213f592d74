"""Replace everything except speech by digital silence before it reaches the network, so that the mouth rests there.

The level is measured in steps of 10 ms, without the constant part of the signal, and compared with the levels of the
same clip. A level well below the loud parts already opens the gate. A still lower level closes it after a delay, so
short pauses inside a word stay open. The gate opens and closes in short fades. The levels of an hour take two
megabytes; the samples stay on disk.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

import numpy as np

from model.arrays import F32, I16
from model.audio import SAMPLE_RATE_HZ

GATED_FILE: Final = "gated.s16"
STEP: Final = SAMPLE_RATE_HZ // 100  # 10 ms
BLOCK_STEPS: Final = 6000  # a minute at a time
QUIET_DB: Final = -60.0  # a level below this is never speech
OPEN_BELOW_DB: Final = 30.0  # below the loud parts of the clip
CLOSE_BELOW_DB: Final = 36.0
ABOVE_NOISE_DB: Final = 9.0
LEAST_OPEN_DB: Final = 12.0  # in any noise, levels down to this far below the loud parts are speech
EARLY_STEPS: Final = 8  # the gate opens 80 ms before the level rises, for a soft beginning
LATE_STEPS: Final = 15  # the gate stays open for 150 ms after the level falls


def gate_silence(samples: I16, work_dir: Path) -> I16:
    """Write samples (n,) int16, silent wherever nobody speaks, into work_dir; return them as a memory map."""
    steps = -(-len(samples) // STEP)
    gain = gate_gain(levels_db(samples))
    path = work_dir / GATED_FILE
    with path.open("wb") as file:  # not a memory map: a full disk then raises an error instead of SIGBUS
        for start in range(0, steps, BLOCK_STEPS):
            part = np.asarray(samples[start * STEP : (start + BLOCK_STEPS) * STEP], np.float32)
            at = np.arange(start * STEP, start * STEP + len(part)) / STEP - 0.5
            smooth = np.interp(at, np.arange(steps), gain)  # the gate fades over one step
            file.write(np.rint(part * smooth).astype("<i2").tobytes())
            _release_pages(samples)
    return np.memmap(path, np.int16, "r", shape=samples.shape)


def levels_db(samples: I16) -> F32:
    """Return the level of each 10 ms of samples (n,) int16, (ceil(n / 160),) float32 in dB of full scale."""
    levels = []
    for start in range(0, len(samples), STEP * BLOCK_STEPS):
        block = np.asarray(samples[start : start + STEP * BLOCK_STEPS], np.float32) / 32768
        block = np.concatenate([block, np.full(-len(block) % STEP, block[-1], np.float32)]).reshape(-1, STEP)
        levels.append(block.std(axis=1))
        _release_pages(samples)
    return np.asarray(20 * np.log10(np.maximum(np.concatenate(levels), 1e-6)), np.float32)


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


def _release_pages(samples: I16) -> None:
    """Release the pages of a memory-mapped file, which would otherwise add up to the whole file in memory."""
    owner: object = samples.base
    if isinstance(owner, mmap.mmap):
        owner.madvise(mmap.MADV_DONTNEED)
