from __future__ import annotations

from fractions import Fraction

import pytest

from app.core.probing.frame_rate import find_cadence

MS = Fraction(1, 1000)


def steady(rate: Fraction, count: int, time_base: Fraction, first: int = 0) -> list[int]:
    return [first + round(i / (rate * time_base)) for i in range(count)]


@pytest.mark.parametrize("rate", ["12", "15", "24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60"])
@pytest.mark.parametrize("time_base", [MS, Fraction(1, 90000)])
def test_standard_rates_are_exact_with_any_time_base(rate: str, time_base: Fraction) -> None:
    found = find_cadence(steady(Fraction(rate), 150, time_base, 777), 0, time_base, [])
    assert (found.rate, found.frames, found.variable) == (Fraction(rate), 150, False)


def test_a_rate_that_is_not_standard_is_kept() -> None:
    found = find_cadence(steady(Fraction(17), 100, MS), 0, MS, [])
    assert (found.rate, found.frames, found.variable) == (Fraction(17), 100, False)


def test_the_container_decides_between_rates_that_both_fit() -> None:
    times = steady(Fraction(30000, 1001), 8, MS)
    assert find_cadence(times, 33, MS, [Fraction(30000, 1001)]).rate == Fraction(30000, 1001)
    assert find_cadence(times, 33, MS, [Fraction(30)]).rate == Fraction(30)


@pytest.mark.parametrize(
    ("steps", "rate"),
    [
        ([40, 80, 120, 160] * 10, Fraction(25)),  # dropped frames of a 25 fps clip
        ([33, 34, 33, 120] * 10, Fraction(30)),
        ([5, 200] * 20, Fraction(60)),  # bursts: never finer than 60
        ([1000, 3000] * 5, Fraction(25)),  # a slide show
    ],
)
def test_uneven_clips_get_the_rate_of_their_shortest_steps(steps: list[int], rate: Fraction) -> None:
    times = [sum(steps[:i]) for i in range(len(steps) + 1)]
    found = find_cadence(times, steps[-1], MS, [])
    assert found.variable
    assert found.rate == rate
    assert abs(found.frames / found.rate - Fraction(times[-1] + steps[-1], 1000)) <= 1 / rate


def test_jumps_by_a_part_of_a_frame_do_not_change_the_rate() -> None:
    times = [i * 3600 + (i > 37) * 1800 for i in range(75)]
    found = find_cadence(times, 3600, Fraction(1, 90000), [])
    assert found.rate == 25
    assert abs(found.frames / found.rate - Fraction(times[-1] + 3600, 90000)) <= Fraction(1, 25)


def test_short_clips_are_told_apart_by_their_rounding() -> None:
    assert find_cadence([0, 42, 83, 125, 167, 208, 250, 292], 42, MS, []).rate == 24


def test_steps_that_are_rounded_down_are_those_of_the_container() -> None:
    named = Fraction(24000, 1001)
    assert find_cadence([i * 3753 for i in range(8)], 3753, Fraction(1, 90000), [named]).rate == named


def test_one_frame_is_a_still() -> None:
    assert find_cadence([5], 40, MS, []).frames == 1
    assert find_cadence([], 0, MS, []).frames == 1


def test_a_gap_of_hours_is_counted_without_being_filled() -> None:
    found = find_cadence([0, 40, 36_000_000], 40, MS, [])
    assert found.frames / found.rate == pytest.approx(36_000, abs=1)
