"""The constant frame rate that fits a list of timestamps.

All rates are exact fractions, because 29.97 as a float drifts by a frame within minutes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Final

STILL_RATE: Final = Fraction(25)  # frame rate of a still picture
MAX_VARIABLE_RATE: Final = Fraction(60)  # highest rate for an irregular clip
MIN_RATE: Final = Fraction(5)  # too slow for moving lips: slower clips get STILL_RATE
SNAP: Final = Fraction(3, 100)  # largest relative distance of an irregular clip's rate from a standard rate
FINE_TICK: Final = Fraction(1, 1000)  # of a frame: with coarser ticks, rates cannot be told apart by rounding
JITTER_PARTS: Final = 50  # a step that differs by more than this part of the usual one is a jump
MIN_EVEN: Final = Fraction(9, 10)  # share of the steps that are no jumps, in a film that has few
STANDARD_RATES: Final = tuple(
    [Fraction(n) for n in (5, 6, 8, 10, 12, 15, 16, 18, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120)]
    + [Fraction(25, 2)]
    + [Fraction(n * 1000, 1001) for n in (12, 15, 24, 30, 48, 60, 120)]
)


@dataclass(frozen=True)
class Cadence:
    """Frame rate of a clip, its number of frames at this rate, and whether its timestamps are unevenly spaced."""

    rate: Fraction
    frames: int
    variable: bool


def find_cadence(pts: list[int], last_duration: int, time_base: Fraction, hints: Iterable[Fraction]) -> Cadence:
    """Return the constant frame rate that fits the timestamps best.

    `pts` and `last_duration` are in units of `time_base` seconds, `pts` in any order. `hints` are the rates that the
    container names.
    """
    times = sorted(set(pts))
    if len(times) < 2:
        return Cadence(STILL_RATE, 1, False)
    span = times[-1] - times[0]
    steps = sorted(b - a for a, b in pairwise(times))
    rate = _steady_rate(Fraction(len(times) - 1, span) / time_base, times, time_base, list(hints))
    if rate not in STANDARD_RATES:
        rate = _rate_without_jumps(steps, time_base, list(hints)) or rate
    variable = not _is_even(times, 1 / (rate * time_base))
    if variable:
        rate = min(_usual_rate(1 / (steps[len(steps) // 5] * time_base)), MAX_VARIABLE_RATE)
    if rate < MIN_RATE:
        rate = STILL_RATE
    last = last_duration if 0 < last_duration <= 4 * steps[-1] else steps[len(steps) // 2]
    frames = max(1, int((span + last) * time_base * rate + Fraction(1, 2)))
    return Cadence(rate, frames, variable)


def _rate_without_jumps(steps: list[int], time_base: Fraction, hints: list[Fraction]) -> Fraction | None:
    """Return the standard rate that all steps but a few fit; None if there are no such few, or no such rate.

    A film that was joined from several ones keeps its rate, though its clock may jump by a part of a frame.
    """
    usual = steps[len(steps) // 2]
    even = [step for step in steps if abs(step - usual) <= max(1, usual // JITTER_PARTS)]
    if len(even) == len(steps) or len(even) < MIN_EVEN * len(steps):
        return None
    rate = _steady_rate(Fraction(len(even), sum(even)) / time_base, [0, *accumulate(even)], time_base, hints)
    return rate if rate in STANDARD_RATES else None


def _is_even(times: list[int], step: Fraction) -> bool:
    """Return whether each time is less than half a step from its place on an even grid; in integers, for speed."""
    whole, parts = step.numerator, step.denominator
    return all(2 * abs((time - times[0]) * parts - i * whole) < whole for i, time in enumerate(times))


def _steady_rate(mean: Fraction, times: list[int], time_base: Fraction, hints: list[Fraction]) -> Fraction:
    """Return the rate that fits the mean of the times: a standard rate, else a hint, else the measured rate."""
    span = times[-1] - times[0]
    tolerance = Fraction(3, 2 * span) + Fraction(1, 20000)
    tick = mean * time_base  # relative to a frame; some demuxers round the length of each frame down to whole ticks
    fitting = [rate for rate in STANDARD_RATES if abs(rate / mean - 1) <= tolerance]
    loosely = [rate for rate in STANDARD_RATES if tick < FINE_TICK and abs(rate / mean - 1) <= tick]
    named = [rate for rate in hints if rate in fitting or rate in loosely]
    if named:
        return named[0]
    if fitting:
        return min(fitting, key=lambda rate: (_misfit(times, 1 / (rate * time_base)), abs(rate - mean)))
    plain = [rate for rate in hints if abs(rate / mean - 1) <= tolerance and rate.denominator <= 1001]
    return plain[0] if plain else _plainest(mean, tolerance)


def _misfit(times: list[int], step: Fraction) -> int:
    """Return how far the times are, in all, from an even grid that is rounded to ticks as muxers do."""
    return sum(abs(time - times[0] - round(i * step)) for i, time in enumerate(times))


def _plainest(mean: Fraction, tolerance: Fraction) -> Fraction:
    """Return the fraction with the smallest denominator that fits the mean, but never zero."""
    for denominator in range(1, 1002):
        rate = Fraction(round(mean * denominator), denominator)
        if abs(rate / mean - 1) <= tolerance:
            return rate
    return _rounded(mean, 1001)


def _usual_rate(rate: Fraction) -> Fraction:
    nearest = min(STANDARD_RATES, key=lambda standard: abs(standard / rate - 1))
    return nearest if abs(nearest / rate - 1) <= SNAP else _rounded(rate, 100)


def _rounded(rate: Fraction, denominator: int) -> Fraction:
    """Round to a fraction with at most this denominator, but never to zero."""
    return max(rate.limit_denominator(denominator), Fraction(1, denominator))
