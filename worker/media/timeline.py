"""Decide which source frame each output frame shows, and play the source in that order.

A timeline is a list of source frame numbers, one per output frame. It is played in stretches. A forward stretch is read
as a stream. A backward stretch is read in chunks: each chunk is read forwards and reversed, so memory does not grow
with length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Protocol, TypeVar

import numpy as np

from app.core.errors import ErrorCode, InputError
from app.core.jobs import JobOptions
from model.arrays import I64


class Numbered(Protocol):
    """Item with a source frame number."""

    @property
    def index(self) -> int:
        """Return the source frame number."""


T = TypeVar("T", bound=Numbered)


class Grid(Protocol):
    """Frames of a source at a constant rate; a still picture has one frame, which is repeated as often as needed."""

    @property
    def frames(self) -> int:
        """Return the number of frames."""

    @property
    def rate(self) -> Fraction:
        """Return the frames per second."""

    @property
    def is_still(self) -> bool:
        """Return whether the source is a still picture."""


def plan_timeline(options: JobOptions, source: Grid, voice_s: float) -> I64:
    """Return the source frame of each output frame, (N,) int64, N at least 1; voice_s: length of the voice.

    A still picture has no length, so in every mode the output is as long as the voice. Raises InputError when start_s
    and end_s leave no frame.
    """
    frames, rate = source.frames, source.rate
    spoken = max(1, _round(Fraction(voice_s) * rate))
    if source.is_still:
        return np.zeros(spoken, np.int64)
    first = _round(Fraction(options.start_s) * rate)
    last = frames if options.end_s is None else min(frames, max(first + 1, _round(Fraction(options.end_s) * rate)))
    shown = last - first
    if shown < 1:
        message = f"start_s is {options.start_s:g}, but the picture lasts {float(frames / rate):.2f} s."
        raise InputError(ErrorCode.OPTION_INVALID, message)
    match options.sync_mode:
        case "cut_off":
            order = np.arange(min(shown, spoken))
        case "silence":
            order = np.arange(shown)
        case "loop":
            order = np.arange(spoken) % shown
        case "bounce":
            phase = np.arange(spoken) % max(1, 2 * shown - 2)
            order = np.minimum(phase, 2 * shown - 2 - phase) if shown > 1 else phase
        case "remap":
            order = np.arange(spoken) * shown // spoken
    return first + order.astype(np.int64)


def play(indices: I64, read: Callable[[int, int], Iterator[T]], chunk: int) -> Iterator[T]:
    """Yield the item of each index, from `read(first, last)`; backwards, at most `chunk` items are in memory."""
    for stretch in stretches(indices):
        if stretch[0] <= stretch[-1]:
            yield from _forwards(stretch, read)
        else:
            for start in range(0, len(stretch), chunk):
                part = stretch[start : start + chunk]
                yield from reversed(list(read(int(part[-1]), int(part[0]) + 1)))


def stretches(indices: I64) -> list[I64]:
    """Split a timeline into stretches, at each change of direction and at each jump back.

    Within a stretch, the numbers never fall, or they fall by at most one from frame to frame.
    """
    steps = np.sign(np.diff(indices))
    cuts, direction = [], 0
    for at, step in enumerate(steps, start=1):
        falls = int(indices[at] - indices[at - 1]) if step < 0 else 0
        if (step > 0 and direction < 0) or (falls == -1 and direction > 0) or falls < -1:
            cuts.append(at)
            direction = 0
        elif step:
            direction = int(step)
    return np.split(indices, cuts)


def _forwards(stretch: I64, read: Callable[[int, int], Iterator[T]]) -> Iterator[T]:
    items = read(int(stretch[0]), int(stretch[-1]) + 1)
    item = next(items)
    for index in stretch:
        while item.index < index:
            item = next(items)
        yield item


def _round(frames: Fraction) -> int:
    return int(frames + Fraction(1, 2))
