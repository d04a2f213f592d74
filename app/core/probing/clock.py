"""One rule for timestamps that start again or jump, for the probe and for the decoder.

Films that were joined byte by byte, and recordings of broadcasts, have clocks that start again in mid-stream. Wherever
that happens, the next frame follows one frame after the last one. A step back of more than 0.1 s is such a restart in
any format. A step forward is one only in the formats of broadcasts and discs, and only beyond 10 s, which is ffmpeg's
own limit; all other steps forward are pauses, in which the last frame stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

MAX_STEP_BACK_S: Final = Fraction(1, 10)  # less is a frame out of order
MAX_PAUSE_S: Final = 10
CLOCK_FORMATS: Final = frozenset({"mpegts", "mpeg"})  # their clocks may jump at any place, as their standard says


@dataclass(frozen=True)
class Stamp:
    """Timestamps of a packet in ticks: when it is decoded, and when its frame is shown."""

    decoded: int
    shown: int


def max_pause_s(format_name: str) -> int | None:
    """Return the longest step forward, in seconds, that is a pause; None: there is no longest one."""
    return MAX_PAUSE_S if format_name in CLOCK_FORMATS else None


def split_at_restarts(stamps: Iterable[Stamp], time_base: Fraction, format_name: str) -> list[list[int]]:
    """Split the packets of a stream, in their order in the file, wherever the clock starts again or jumps.

    Returns the times at which the frames of each part are shown, in ticks of `time_base` seconds, sorted.
    """
    back, pause_s = MAX_STEP_BACK_S / time_base, max_pause_s(format_name)
    forward = None if pause_s is None else pause_s / time_base
    parts: list[list[int]] = []
    last = 0
    for stamp in stamps:
        step = stamp.decoded - last
        if not parts or step < -back or (forward is not None and step > forward):
            parts.append([])
        parts[-1].append(stamp.shown)
        last = stamp.decoded
    return [sorted(set(part)) for part in parts]


def usual_step(parts: list[list[int]]) -> int:
    """Return the median distance of neighbouring frames in ticks, at least 1."""
    steps = sorted(second - first for part in parts for first, second in pairwise(part))
    return max(1, steps[len(steps) // 2]) if steps else 1


def join_parts(parts: list[list[int]], step: int) -> list[int]:
    """Return the times of all frames on one clock: each part begins `step` ticks after the last frame before it."""
    joined: list[int] = []
    for part in parts:
        offset = joined[-1] + step - part[0] if joined else 0
        joined.extend(time + offset for time in part)
    return joined
