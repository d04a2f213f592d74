from __future__ import annotations

import pytest

from app.core.probing.sound_clock import SoundClock

INFINITE = float("inf")
Step = tuple[float | None, float | None]  # timestamp of a frame of 0.1 s, and the silence before it; None: dropped


def steps(first_s: float, count: int) -> list[Step]:
    return [(first_s + 0.1 * k, 0.0) for k in range(count)]


@pytest.mark.parametrize(
    ("longest_hole_s", "frames", "restarts"),
    [
        pytest.param(INFINITE, steps(0.0, 5), 0, id="from zero"),
        pytest.param(INFINITE, steps(8.0, 5), 0, id="from another time"),
        pytest.param(INFINITE, [(None, 0.0)] * 4, 0, id="no timestamps"),
        pytest.param(INFINITE, [*steps(0.0, 5), (0.55, 0.0), (0.58, 0.0)], 0, id="jitter"),
        pytest.param(INFINITE, [*steps(0.0, 5), (1.0, 0.5), *steps(1.1, 3)], 0, id="hole"),
        pytest.param(10.0, [*steps(0.0, 5), (9.0, 8.5), *steps(9.1, 3)], 0, id="hole in a broadcast"),
        pytest.param(10.0, [*steps(1.4, 30), *steps(1.4, 30)], 1, id="starts again"),
        pytest.param(10.0, [*steps(1.4, 5), *steps(5000.0, 5)], 1, id="starts again later"),
        pytest.param(10.0, [*steps(5.0, 9), *steps(2.0, 9), *steps(0.0, 9)], 2, id="starts again twice"),
        pytest.param(INFINITE, [*steps(5.0, 9), (1.0, 0.0), *steps(6.0, 9)], 1, id="one stray timestamp"),
    ],
)
def test_frames_lie_where_their_sound_belongs(longest_hole_s: float, frames: list[Step], restarts: int) -> None:
    clock = SoundClock(longest_hole_s, stamps_survive_change=True)
    found = [clock.place(stamp_s, 0.1) for stamp_s, _ in frames]
    assert found == pytest.approx([silence_s for _, silence_s in frames])
    assert clock.restarts == restarts
    assert clock.now_s == pytest.approx(sum(0.1 + (silence_s or 0) for silence_s in found))


@pytest.mark.parametrize("step_s", [0.0995, 0.1005])
def test_timestamps_that_drift_are_followed(step_s: float) -> None:
    clock = SoundClock(INFINITE, stamps_survive_change=True)
    found = [clock.place(step_s * k, 0.1) for k in range(2000)]
    assert clock.now_s == pytest.approx(step_s * 2000, abs=0.25)
    assert clock.restarts == 0 and (None in found) == (step_s < 0.1)


@pytest.mark.parametrize(("survives", "hole_s"), [(True, 2.0), (False, 0.0)])
def test_guessed_timestamps_mean_nothing_after_a_change(survives: bool, hole_s: float) -> None:
    clock = SoundClock(INFINITE, survives)
    for k in range(5):
        clock.place(0.1 * k, 0.1)
    clock.note_change()
    assert [clock.place(0.5 + 0.18 * k, 0.1) for k in range(5)] == [0.0] * 5
    assert clock.place(0.5 + 0.5 + 2.0, 0.1) == pytest.approx(hole_s)


def test_another_stream_follows_at_once() -> None:
    clock = SoundClock(INFINITE, stamps_survive_change=True)
    clock.place(0.0, 0.1)
    clock.start_again()
    assert clock.place(77.0, 0.1) == 0.0 and clock.restarts == 0
