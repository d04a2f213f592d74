"""Replace everything except speech by digital silence before it reaches the network, so that the mouth rests there.

`model.silence_gate` decides what is speech. This module works through a voice of any length a minute at a time: the
levels of an hour take two megabytes; the samples stay on disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from model.arrays import F32, I16, release_pages
from model.silence_gate import STEP, apply_gain, gate_gain
from model.silence_gate import levels_db as block_levels_db

GATED_FILE: Final = "gated.s16"
BLOCK_STEPS: Final = 6000  # a minute at a time


def gate_silence(samples: I16, work_dir: Path) -> I16:
    """Write samples (n,) int16, silent wherever nobody speaks, into work_dir; return them as a memory map."""
    gain = gate_gain(levels_db(samples), samples)
    path = work_dir / GATED_FILE
    with path.open("wb") as file:  # not a memory map: a full disk then raises an error instead of SIGBUS
        for start in range(0, len(gain), BLOCK_STEPS):
            part = samples[start * STEP : (start + BLOCK_STEPS) * STEP]
            file.write(apply_gain(part, gain, start).astype("<i2").tobytes())
            release_pages(samples)
    if not len(samples):
        return samples  # an empty file cannot be mapped
    return np.memmap(path, np.int16, "r", shape=samples.shape)


def levels_db(samples: I16) -> F32:
    """Return the level of each 10 ms of samples (n,) int16, (ceil(n / 160),) float32 in dB of full scale."""
    levels = [np.zeros(0, np.float32)]  # an empty recording has no levels
    for start in range(0, len(samples), STEP * BLOCK_STEPS):
        levels.append(block_levels_db(samples[start : start + STEP * BLOCK_STEPS]))
        release_pages(samples)
    return np.concatenate(levels)
