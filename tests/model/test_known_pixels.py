"""A reference that is read once shows the same as one that is posed first and displaced afterwards."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from model.arrays import F32, U8
from model.known_pixels import PosedPicture, PosedReference, own_place, show_known
from tests.model.test_composition import smooth

SIZE, ROW = 96, 40
WHOLE = (slice(0, SIZE), slice(0, SIZE))
TONE = np.clip(np.arange(256)[None, :, None] * [0.8, 0.9, 1.0] + 10, 0, 255).astype(np.uint8)


def picture(seed: int) -> U8:
    return (smooth(np.random.default_rng(seed), SIZE, SIZE, 3) * 255).astype(np.uint8)


def field(seed: int, nodes: int, reach: float) -> F32:
    """Return smooth distances (nodes, nodes, 2) up to `reach`."""
    return ((smooth(np.random.default_rng(seed), nodes, nodes, 2) - 0.5) * 2 * reach).astype(np.float32)


def enlarged(pixels: U8) -> U8:
    return np.asarray(cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)


def shown(reference: PosedReference, offsets: F32, part: tuple[slice, slice] = WHOLE) -> U8:
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    show_known(picture(0), reference, ROW, offsets, part, pixels[part])
    return pixels


def as_it_is(pixels: U8) -> PosedReference:
    return PosedReference(pixels, PosedPicture(pixels))


def posed_first(pixels: U8, shift: F32, added: F32) -> U8:
    """Return a picture that is moved and toned before the network moves it."""
    places = cv2.resize(shift, (SIZE, SIZE)) * SIZE + own_place(SIZE)
    moved = cv2.remap(pixels, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(cv2.add(cv2.LUT(moved, TONE), cv2.resize(added, (SIZE, SIZE)), dtype=cv2.CV_8U), np.uint8)


OFFSETS = field(1, 48, 0.08).transpose(2, 0, 1).copy()
SHIFT, ADDED = field(2, 24, 0.05), np.repeat(field(3, 24, 8.0)[..., :1], 3, axis=2)
POSED = PosedPicture(enlarged(picture(4)), SHIFT, TONE, ADDED)


def test_pose_tone_and_displacement_are_joined() -> None:
    once = shown(PosedReference(picture(4), POSED), OFFSETS)
    twice = shown(as_it_is(posed_first(picture(4), SHIFT, ADDED)), OFFSETS)
    difference = np.abs(once.astype(int) - twice)[4:-4, 4:-4]
    assert difference.mean() < 1.0 and difference.max() < 12


@pytest.mark.parametrize("without", [replace(POSED, shift=None), replace(POSED, tone=None), replace(POSED, added=None)])
def test_each_of_them_matters(without: PosedPicture) -> None:
    all_of_them, fewer = (shown(PosedReference(picture(4), one), OFFSETS) for one in (POSED, without))
    assert np.abs(all_of_them.astype(int) - fewer)[ROW + 20 :].mean() > 1.5


def test_two_pictures_are_mixed_below_the_row_only() -> None:
    one, two = (PosedPicture(picture(seed)) for seed in (4, 5))
    alone = [shown(PosedReference(each.pixels, each), OFFSETS).astype(float) for each in (one, two)]
    mixed = shown(PosedReference(one.pixels, one, two, 0.75), OFFSETS)
    assert np.abs(mixed - (0.75 * alone[0] + 0.25 * alone[1])).max() <= 1.0
    np.testing.assert_array_equal(mixed[: ROW - 10], alone[0][: ROW - 10])


@pytest.mark.parametrize("part", [(slice(20, 60), slice(8, 90)), (slice(44, 96), slice(0, 50)), (slice(0, 30),) * 2])
def test_a_part_is_shown_as_in_the_whole(part: tuple[slice, slice]) -> None:
    reference = PosedReference(picture(4), POSED)
    whole, alone = shown(reference, OFFSETS), shown(reference, OFFSETS, part)
    assert np.abs(whole[part].astype(int) - alone[part]).max() <= 1
