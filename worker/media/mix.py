"""Mixing of channels: what one or two channels hear of many, as loud as the voice would be alone.

A layout with known places is mixed as in ITU-R BS.775, without making everything quieter first: the voice is in the
centre, and stays as loud. Channels that have no known place are weighted alike. A mix in which the channels cancel each
other is replaced by the loudest channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from model.arrays import F32

SIDE: Final = float(np.sqrt(0.5))  # -3 dB
LEFT: Final = ("FL", "BL", "SL", "FLC", "WL", "TFL", "TBL", "TSL")
RIGHT: Final = ("FR", "BR", "SR", "FRC", "WR", "TFR", "TBR", "TSR")
MIDDLE: Final = ("FC", "BC", "TFC", "TBC", "TC")
FULL: Final = frozenset({"FL", "FR"})
UNHEARD: Final = frozenset({"LFE", "LFE2"})
MOST_PLACED: Final = 8  # with more, names are mostly a guess of the program that wrote them
CANCELS_BELOW: Final = {True: 0.1, False: 0.25}  # power of the mix against the loudest channel; True: stereo
RETURNS_ABOVE: Final = 2.0  # times that value
KEEPS_CHANNEL: Final = 0.5  # of the power of the loudest one: the chosen channel does not change for less
AUDIBLE_POWER: Final = 1e-7  # -70 dB of full scale: quieter blocks decide nothing


def are_placed(names: Sequence[str]) -> bool:
    """Return whether the names of channels are those of a layout whose two sides are alike."""
    known = {*LEFT, *RIGHT, *MIDDLE, *UNHEARD}
    alike = all((left in names) == (right in names) for left, right in zip(LEFT, RIGHT, strict=True))
    return len(names) <= MOST_PLACED and set(names) <= known and alike and bool(set(names) - UNHEARD)


def mix_weights(names: Sequence[str], outputs: int) -> F32:
    """Return the weights (outputs, channels) float32 that mix channels with these names to one or two."""
    count = len(names)
    if count == 1:
        return np.ones((outputs, 1), np.float32)
    if count == 2:
        return np.eye(2, dtype=np.float32) if outputs == 2 else np.full((1, 2), 0.5, np.float32)
    if not are_placed(names):
        return np.full((outputs, count), 1 / count, np.float32)
    weights = np.zeros((2, count), np.float32)
    for index, name in enumerate(names):
        if name in LEFT:
            weights[0, index] = 1.0 if name in FULL else SIDE
        elif name in RIGHT:
            weights[1, index] = 1.0 if name in FULL else SIDE
        elif name in MIDDLE:
            weights[:, index] = SIDE if name == "FC" else 0.5
    if outputs == 2:
        return weights
    # a voice in the centre, or the same in both sides, is as loud as alone
    mono = weights.sum(axis=0, keepdims=True) / 2
    mono[0, [index for index, name in enumerate(names) if name == "FC"]] = 1.0
    return np.asarray(mono, np.float32)


class CancelGuard:
    """Guard against a mix to one channel in which the channels cancel each other; it decides block by block.

    A stretch in which they do is heard from its loudest channel, until the mix is clearly good again.
    """

    def __init__(self, channels: int, weights: F32) -> None:
        self._weights, self._limit = weights, CANCELS_BELOW[channels == 2]
        self._chosen: int | None = None

    def choose(self, block: F32) -> int | None:
        """Return the channel that replaces the mix of the next block (channels, n), None if the mix is good."""
        power = np.mean(np.square(block), axis=1)
        loudest = int(np.argmax(power))
        if power[loudest] < AUDIBLE_POWER:
            return self._chosen
        share = float(np.mean(np.square(self._weights @ block))) / float(power[loudest])
        if share > (self._limit if self._chosen is None else RETURNS_ABOVE * self._limit):
            self._chosen = None
        elif self._chosen is None or power[self._chosen] < KEEPS_CHANNEL * power[loudest]:
            self._chosen = loudest
        return self._chosen
