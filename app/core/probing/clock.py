"""One rule for timestamps that start again or jump, for the probe and for the decoder.

Films that were joined byte by byte, and recordings of broadcasts, have clocks that start again in mid-stream. Wherever
that happens, the next frame follows one frame after the last one. A step back of more than 0.1 s is such a restart in
any format. A step forward is one only in the formats of broadcasts and discs, and only beyond 10 s, which is ffmpeg's
own limit; all other steps forward are pauses, in which the last frame stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

MAX_STEP_BACK_S: Final = Fraction(1, 10)  # less is a frame out of order
MAX_PAUSE_S: Final = 10
MAX_REORDERED_S: Final = 1  # how long before earlier packets of a file the frame of a packet may be shown
CLOCK_FORMATS: Final = frozenset({"mpegts", "mpeg"})  # their clocks may jump at any place, as their standard says


@dataclass(frozen=True)
class Stamp:
    """When a packet is decoded and when its frame is shown, in ticks, and whether it is a key frame."""

    decoded: int
    shown: int
    is_key: bool


def max_pause_s(format_name: str) -> int | None:
    """Return the longest step forward, in seconds, that is a pause; None: there is no longest one."""
    return MAX_PAUSE_S if format_name in CLOCK_FORMATS else None


def split_at_restarts(stamps: Iterable[Stamp], time_base: Fraction, format_name: str) -> list[list[int]]:
    """Split the packets of a stream, in their order in the file, wherever the clock starts again or jumps.

    Returns the times at which the frames of each part are shown, in ticks of `time_base` seconds, in file order.
    """
    finds = _jumps if format_name in CLOCK_FORMATS else _steps_back
    parts: list[list[int]] = []
    for stamp, is_restart in finds(stamps, time_base):
        if not parts or is_restart:
            parts.append([])
        parts[-1].append(stamp.shown)
    return parts


def _jumps(stamps: Iterable[Stamp], time_base: Fraction) -> Iterator[tuple[Stamp, bool]]:
    """Yield each packet with whether the clock jumped before it; the file tells when packets are decoded."""
    back, forward = MAX_STEP_BACK_S / time_base, MAX_PAUSE_S / time_base
    last: int | None = None
    for stamp in stamps:
        step = 0 if last is None else stamp.decoded - last
        yield stamp, step < -back or step > forward
        last = stamp.decoded


def _steps_back(stamps: Iterable[Stamp], time_base: Fraction) -> Iterator[tuple[Stamp, bool]]:
    """Yield each packet with whether the clock stepped back before it; the file tells only when frames are shown.

    A key frame is shown after all frames that precede it in the file, any other frame at most shortly before them.
    """
    back, reordered = MAX_STEP_BACK_S / time_base, MAX_REORDERED_S / time_base
    latest: int | None = None
    for stamp in stamps:
        is_restart = latest is not None and stamp.shown < latest - (back if stamp.is_key else reordered)
        yield stamp, is_restart
        latest = stamp.shown if latest is None or is_restart else max(latest, stamp.shown)


def usual_step(parts: list[list[int]]) -> int:
    """Return the median distance of neighbouring frames in ticks, at least 1."""
    steps = sorted(second - first for part in parts for first, second in pairwise(sorted(set(part))))
    return max(1, steps[len(steps) // 2]) if steps else 1


def join_parts(parts: list[list[int]], step: int) -> list[list[int]]:
    """Return the parts on one clock: each begins `step` ticks after the last frame before it."""
    joined: list[list[int]] = []
    for part in parts:
        offset = max(joined[-1]) + step - min(part) if joined else 0
        joined.append([time + offset for time in part])
    return joined
