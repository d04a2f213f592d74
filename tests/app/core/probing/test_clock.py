from __future__ import annotations

from fractions import Fraction

import pytest

from app.core.probing.clock import Stamp, join_parts, split_at_restarts, usual_step

TICK = Fraction(1, 90000)
STEP = 3600


def stamps(*firsts: int, reordered: bool = False) -> list[Stamp]:
    """Return parts of eight frames with the given first times; with `reordered`, each third frame is decoded early."""
    order = [0, 3, 1, 2, 6, 4, 5, 7] if reordered else range(8)
    return [
        Stamp(first + (place - 2) * STEP, first + frame * STEP, frame == 0)
        for first in firsts
        for place, frame in enumerate(order)
    ]


@pytest.mark.parametrize("reordered", [False, True])
@pytest.mark.parametrize(
    ("name", "firsts", "parts"),
    [
        ("mpegts", (126_000,), 1),
        ("mpegts", (126_000, 126_000), 2),
        ("mpegts", (126_000, 126_000 + 8 * STEP), 1),  # goes on
        ("mpegts", (0, 8 * STEP + 2 * 90_000), 1),  # a pause of two seconds
        ("mpegts", (0, 8 * STEP + 3600 * 90_000), 2),  # a jump of an hour
        ("mpeg", (900_000_000, 126_000, 126_000), 3),
        ("matroska", (0, 0, 8 * STEP), 2),
        ("mov", (0, 8 * STEP + 3600 * 90_000), 1),  # here an hour is an hour
    ],
)
def test_where_the_clock_starts_again(name: str, firsts: tuple[int, ...], parts: int, reordered: bool) -> None:
    found = split_at_restarts(stamps(*firsts, reordered=reordered), TICK, name)
    assert len(found) == parts
    times = sorted(time for part in join_parts(found, usual_step(found)) for time in part)
    assert usual_step(found) == STEP
    assert times[0] == firsts[0]
    if parts == len(firsts):
        assert times == [firsts[0] + i * STEP for i in range(8 * parts)]


def test_frames_out_of_order_are_no_restart() -> None:
    late = [Stamp(i * STEP, time * STEP, False) for i, time in enumerate([0, 8, 4, 2, 1, 3, 6, 5, 7, 16, 12])]
    assert len(split_at_restarts(late, TICK, "matroska")) == 1
    assert len(split_at_restarts(late, TICK, "mpegts")) == 1


def test_no_packets_are_no_parts() -> None:
    assert split_at_restarts([], TICK, "mpegts") == []
    assert usual_step([[5]]) == 1
