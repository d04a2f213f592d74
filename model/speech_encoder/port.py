"""The port of speech encoders: what hearing needs of a pretrained network that turns sound into features.

A hearing network that learned to listen from a few hours of speech hears little better than a linear map of the
spectrum. A speech encoder was trained on a hundred thousand hours and more. Its features already tell sounds, speakers
and noise apart, so that a small network on top of it follows the lips of people that nobody trained on.

Features are computed once per clip, because the encoder costs much more than hearing. `feature_windows` cuts from them
what belongs to a frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np

from model.arrays import F16, F32, F64
from model.audio import SAMPLE_RATE_HZ, Samples

FEATURES: Final = 384  # values of one step
FEATURE_RATE_HZ: Final = 50  # steps a second
SAMPLES_PER_STEP: Final = SAMPLE_RATE_HZ // FEATURE_RATE_HZ
# Hearing takes 16 steps at a time: from 120 ms before a moment to 180 ms after it, because lips take the shape of the
# sound that follows. A frame's window has two steps more on each side, so that it also holds the moments 40 ms before
# and after the frame.
HEARD_STEPS: Final = 16
MARGIN_STEPS: Final = 2
WINDOW_STEPS: Final = HEARD_STEPS + 2 * MARGIN_STEPS
FIRST_STEP: Final = -6 - MARGIN_STEPS


class SpeechEncoder(Protocol):
    """Pretrained network that turns sound into features."""

    @property
    def name(self) -> str:
        """Return the name by which a checkpoint asks for it."""

    def encode(self, samples: Samples) -> Iterator[F32]:
        """Yield the features of a recording in parts (k, 384) float32, in order.

        samples: (n,) int16 or float in -1..1, mono at 16 kHz; a memory map will do. All parts together have
        `feature_count(n)` steps; step k is placed at (k + 0.5) * 20 ms, half a step after its centre.
        """


def feature_count(sample_count: int) -> int:
    """Return the number of steps of a recording of `sample_count` samples."""
    return -(-sample_count // SAMPLES_PER_STEP)


def feature_windows(features: F16 | F32, times_s: F64) -> F32:
    """Cut the window of each frame time from the features of a recording, between steps by interpolation.

    features: (T, 384) float16 or float32, T of at least 1; a memory map will do. times_s: (N,) seconds. Returns
    (N, 20, 384) float32. Before the first and after the last step the windows repeat that step.
    """
    steps = (np.arange(WINDOW_STEPS) + FIRST_STEP) / FEATURE_RATE_HZ
    place = (np.asarray(times_s, np.float64)[:, None] + steps) * FEATURE_RATE_HZ - 0.5
    place = np.clip(place, 0.0, len(features) - 1)
    # Rounded, so that a time which was computed in another way, a billionth off, gives the same features.
    place = np.round(place, 6)
    before = place.astype(np.int64)
    after = np.minimum(before + 1, len(features) - 1)
    low, high = int(before.min()), int(after.max()) + 1
    part = np.asarray(features[low:high], np.float32)
    share = (place - before).astype(np.float32)[..., None]
    windows: F32 = part[before - low] * (1 - share) + part[after - low] * share
    return windows
