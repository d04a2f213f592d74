from __future__ import annotations

import numpy as np
import pytest

from worker.media.mix import CancelGuard, are_placed, mix_weights

SIX = ("FL", "FR", "FC", "LFE", "BL", "BR")
EIGHT = ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")


@pytest.mark.parametrize(
    ("names", "placed"),
    [
        (("FC",), True),
        (("FL", "FR"), True),
        (SIX, True),
        (EIGHT, True),
        (("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL"), False),  # one side only
        (("FL", "FR", "SL"), False),
        (("LFE",), False),
        (("NONE",) * 3, False),
        (("FL", "FR", "FC", "BL", "BR", "BC", "SL", "SR", "TFL", "TFR"), False),  # more than anybody means
    ],
)
def test_a_layout_is_trusted_only_if_it_makes_sense(names: tuple[str, ...], placed: bool) -> None:
    assert are_placed(names) == placed


@pytest.mark.parametrize("names", [("FC",), ("FL", "FR", "FC"), SIX, EIGHT])
def test_a_voice_in_the_centre_is_as_loud_as_alone(names: tuple[str, ...]) -> None:
    center = names.index("FC")
    assert mix_weights(names, 1)[0, center] == 1.0
    if len(names) > 1:
        left, right = mix_weights(names, 2)[:, center]
        assert left == right and left**2 + right**2 == pytest.approx(1.0)


@pytest.mark.parametrize("names", [("FL", "FR"), ("FL", "FR", "FC"), SIX, EIGHT])
def test_a_voice_on_both_sides_is_as_loud_as_alone(names: tuple[str, ...]) -> None:
    assert mix_weights(names, 1)[0, :2].sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(mix_weights(names, 2)[:, :2], np.eye(2))


def test_bass_effects_are_left_out_and_unknown_channels_are_alike() -> None:
    assert not mix_weights(SIX, 2)[:, 3].any()
    np.testing.assert_allclose(mix_weights(("NONE",) * 10, 2), 0.1)


def noise(seed: int, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(8000).astype(np.float32)


@pytest.mark.parametrize(
    ("channels", "chosen"),
    [
        ([noise(0), noise(0)], None),
        ([noise(0), noise(1)], None),
        ([noise(0), 0 * noise(0)], None),
        ([noise(0), -noise(0)], 0),
        ([noise(0), -1.2 * noise(0)], 1),
        ([noise(0, 1e-6), -noise(0, 1e-6)], None),
    ],
)
def test_only_a_mix_that_cancels_is_replaced(channels: list[np.ndarray], chosen: int | None) -> None:
    block = np.stack(channels)
    assert CancelGuard(2, mix_weights(("FL", "FR"), 1)).choose(block) == chosen


def test_the_guard_stays_until_the_mix_is_clearly_good() -> None:
    guard = CancelGuard(2, mix_weights(("FL", "FR"), 1))
    inverted, partly = np.stack([noise(0), -noise(0)]), np.stack([noise(0), -0.3 * noise(0)])
    silent, good = np.zeros((2, 8000), np.float32), np.stack([noise(0), noise(0)])
    assert [guard.choose(block) for block in (good, inverted, silent, partly, good)] == [None, 0, 0, 0, None]


def test_one_voice_among_many_channels_is_heard_at_its_own_level() -> None:
    block = np.zeros((10, 8000), np.float32)
    block[7] = noise(0)
    assert CancelGuard(10, mix_weights(("NONE",) * 10, 1)).choose(block) == 7
