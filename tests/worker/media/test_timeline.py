from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from app.core.errors import ErrorCode, InputError
from app.core.jobs import JobOptions
from worker.media.timeline import plan_timeline, play, stretches


@dataclass(frozen=True)
class Grid:
    frames: int
    rate: Fraction = Fraction(25)
    is_still: bool = False


@dataclass(frozen=True)
class Item:
    index: int


@pytest.mark.parametrize(
    ("mode", "frames", "voice_s", "expected"),
    [
        ("cut_off", 5, 0.12, [0, 1, 2]),
        ("cut_off", 3, 0.20, [0, 1, 2]),
        ("silence", 5, 0.12, [0, 1, 2, 3, 4]),
        ("silence", 3, 0.20, [0, 1, 2]),
        ("loop", 3, 0.28, [0, 1, 2, 0, 1, 2, 0]),
        ("loop", 5, 0.12, [0, 1, 2]),
        ("bounce", 4, 0.44, [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]),
        ("bounce", 1, 0.12, [0, 0, 0]),
        ("bounce", 2, 0.16, [0, 1, 0, 1]),
        ("remap", 3, 0.24, [0, 0, 1, 1, 2, 2]),
        ("remap", 6, 0.12, [0, 2, 4]),
        ("cut_off", 5, 0.001, [0]),
    ],
)
def test_modes(mode: str, frames: int, voice_s: float, expected: list[int]) -> None:
    assert plan_timeline(JobOptions(sync_mode=mode), Grid(frames), voice_s).tolist() == expected


@pytest.mark.parametrize("mode", ["cut_off", "loop", "bounce", "silence", "remap"])
def test_a_still_lasts_as_long_as_the_voice(mode: str) -> None:
    still = Grid(1, is_still=True)
    assert plan_timeline(JobOptions(sync_mode=mode, start_s=3.0), still, 2.0).tolist() == [0] * 50


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "60"])
@pytest.mark.parametrize("mode", ["loop", "bounce", "remap"])
def test_the_length_is_right_to_half_a_frame(rate: str, mode: str) -> None:
    grid = Grid(100, Fraction(rate))
    for voice_s in (0.5, 7.123, 600.0):
        order = plan_timeline(JobOptions(sync_mode=mode), grid, voice_s)
        assert abs(len(order) / grid.rate - Fraction(voice_s)) <= 1 / grid.rate / 2
        assert order.min() >= 0
        assert order.max() < 100


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [(0.08, None, [2, 3, 4]), (0.0, 0.08, [0, 1]), (0.04, 0.12, [1, 2]), (0.04, 9.0, [1, 2, 3, 4]), (0.04, 0.05, [1])],
)
def test_start_and_end_choose_the_picture(start_s: float, end_s: float | None, expected: list[int]) -> None:
    options = JobOptions(sync_mode="silence", start_s=start_s, end_s=end_s)
    assert plan_timeline(options, Grid(5), 1.0).tolist() == expected


def test_a_start_beyond_the_end_is_an_option_error() -> None:
    with pytest.raises(InputError) as caught:
        plan_timeline(JobOptions(start_s=2.0), Grid(5), 1.0)
    assert caught.value.code == ErrorCode.OPTION_INVALID


@pytest.mark.parametrize(
    "order",
    [
        [0],
        [3, 4, 5],
        [0, 0, 1, 1, 2],
        [0, 2, 4, 9],
        [0, 1, 2, 0, 1, 2, 0],
        [2, 3, 4, 3, 2, 3, 4, 3],
        [0, 1, 0, 1, 0],
        [5, 4, 3, 2],
        [0] * 30,
        [3, 0, 1, 2, 9, 0],
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_playing_gives_the_order_whatever_the_chunks(order: list[int], chunk: int) -> None:
    spans = []

    def read(first: int, last: int) -> Iterator[Item]:
        spans.append((first, last))
        yield from (Item(i) for i in range(first, last))

    assert [item.index for item in play(np.array(order), read, chunk)] == order
    assert all(first < last for first, last in spans)


def test_running_backwards_holds_a_chunk_at_most() -> None:
    longest = 0

    def read(first: int, last: int) -> Iterator[Item]:
        nonlocal longest
        longest = max(longest, last - first) if first else longest
        yield from (Item(i) for i in range(first, last))

    order = plan_timeline(JobOptions(sync_mode="bounce"), Grid(500), 36.0)
    assert [item.index for item in play(order, read, 16)] == order.tolist()
    assert longest == 16
    assert [len(part) for part in stretches(order)] == [500, 400]
