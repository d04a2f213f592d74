"""Composition on arrays gives the same pictures as composition in training."""

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from model.composition import Look, Part, compose, shrink
from model.interior import Interior, Layer
from model.known_pixels import PosedPicture, PosedReference
from model.network.generator import Drawing, known_face

SIZE = 32


def smooth(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return a picture in 0..1 that is as smooth as a face."""
    coarse = torch.from_numpy(rng.random((1, shape[2], 6, 6), np.float32))
    fine = torch.nn.functional.interpolate(coarse, size=shape[:2], mode="bicubic").clamp(0, 1)
    return fine[0].permute(1, 2, 0).numpy()


def as_it_is(pixels: np.ndarray) -> PosedReference:
    """Return a reference that is shown as it is."""
    return PosedReference(pixels, PosedPicture(pixels))


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_it_equals_the_composition_in_training(factor: int) -> None:
    rng, size = np.random.default_rng(1), SIZE * factor
    target, reference = ((smooth(rng, size, size, 3) * 255).astype(np.uint8) for _ in range(2))
    offsets = ((smooth(rng, SIZE // 2, SIZE // 2, 2) - 0.5) * 0.3).transpose(2, 0, 1).copy()
    colours, mask = (smooth(rng, SIZE, SIZE, 3) * 255).astype(np.uint8), smooth(rng, SIZE, SIZE, 1)[..., 0].copy()
    composed = compose(target, as_it_is(reference), 0.4, offsets, colours, mask)

    def tensor(pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255

    drawing = Drawing(torch.from_numpy(offsets)[None], tensor(colours), torch.from_numpy(mask)[None, None])
    wanted = drawing.compose(known_face(tensor(target), tensor(reference), 0.4))[0].permute(1, 2, 0).numpy() * 255
    seam = np.abs(np.arange(size) / size - 0.4) < 0.25  # at the seam, cubic and linear interpolation differ
    assert np.abs(composed[~seam].astype(float) - wanted[~seam]).max() < 8
    assert np.abs(composed.astype(float) - wanted).mean() < 1.0


def test_a_closed_mask_shows_the_known_pixels() -> None:
    target, reference = (np.random.default_rng(k).integers(0, 256, (64, 64, 3), dtype=np.uint8) for k in (1, 2))
    still, closed = (np.zeros(shape, np.float32) for shape in ((2, 16, 16), (SIZE, SIZE)))
    shown = compose(target, as_it_is(reference), 0.25, still, np.zeros((SIZE, SIZE, 3), np.uint8), closed)
    np.testing.assert_array_equal(shown[:16], target[:16])
    np.testing.assert_array_equal(shown[16:], reference[16:])


def test_shrinking_is_the_mean() -> None:
    crops = np.random.default_rng(3).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    wanted = crops.reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(shrink(crops, SIZE) - wanted).max() <= 0.5
    assert shrink(crops, 64) is crops


FACTOR = 3
LARGE = SIZE * FACTOR
SKIN, WHITE, DARK, PINK = (190, 140, 120), (225, 215, 205), (40, 15, 15), (170, 80, 80)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def block(colour: tuple[int, int, int], top: int, bottom: int) -> Layer:
    """Return an opaque layer over the middle of the crop, between two rows."""
    pixels = np.empty((bottom - top, LARGE // 2, 4), np.uint8)
    pixels[...] = (*colour, 255)
    return Layer(pixels, LARGE // 4, top)


def mouth(height: float, bottom: float = 24.0) -> np.ndarray:
    """Return a mask of the network, open between two rows; height and bottom in its pixels."""
    rows, columns = np.arange(SIZE)[:, None] + 0.5, np.arange(SIZE)[None] + 0.5
    inside = np.clip(rows - (bottom - height) + 0.5, 0, 1) * np.clip(bottom - rows + 0.5, 0, 1)
    across = np.clip(columns - 6 + 0.5, 0, 1) * np.clip(26 - columns + 0.5, 0, 1)
    return (inside * across * min(1.0, height)).astype(np.float32)


def composed(mask: np.ndarray, interior: Interior | None, colour: tuple[int, int, int] = DARK) -> np.ndarray:
    face = np.full((LARGE, LARGE, 3), SKIN, np.uint8)
    still = np.zeros((2, SIZE // 2, SIZE // 2), np.float32)
    colours = np.full((SIZE, SIZE, 3), colour, np.uint8)
    return compose(face, as_it_is(face), 0.4, still, colours, mask, Look(interior)).astype(int)


NOTHING = Layer(np.zeros((4, 4, 4), np.uint8), 0, 0)
# The upper layer reaches 3 network pixels into the opening of 8 that ends at row 24, the lower one 2.
TEETH = Interior(block(RED, 40, 57), block(BLUE, 66, 90), (LARGE / 2, 24.0 * FACTOR), DARK)
MIDDLE = LARGE // 2


def test_an_interior_is_seen_inside_the_opening_only() -> None:
    mask = mouth(8.0)
    near = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    outside = np.repeat(np.repeat(near, FACTOR, 0), FACTOR, 1) == 0
    with_teeth, without = composed(mask, TEETH), composed(mask, None)
    np.testing.assert_array_equal(with_teeth[outside], np.broadcast_to(SKIN, (outside.sum(), 3)))
    column = with_teeth[:, MIDDLE]
    assert column[54, 0] > 180 and column[54, 2] < 30  # upper layer
    assert column[69, 2] > 200  # lower layer
    assert np.abs(column[61] - without[61, MIDDLE]).max() < 20  # between the two, the network's own colours


@pytest.mark.parametrize("down", [0.0, 1.0, 3.0])
def test_the_lower_layer_moves_with_the_lower_lip(down: float) -> None:
    column = composed(mouth(8.0 + down, 24.0 + down), TEETH)[:, MIDDLE]
    blue = np.flatnonzero(column[:, 2] > 150)
    assert blue[0] == pytest.approx(66 + down * FACTOR, abs=1)
    red = np.flatnonzero((column[:, 0] > 150) & (column[:, 1] < 60))
    assert red[-1] == pytest.approx(56, abs=1)


@pytest.mark.parametrize("height", [0.3, 0.8, 1.2])
def test_closed_lips_hide_an_interior(height: float) -> None:
    assert np.abs(composed(mouth(height), TEETH) - composed(mouth(height), None)).max() <= 1


def test_an_interior_comes_in_slowly() -> None:
    heights = np.arange(0.0, 8.0, 0.1)
    pictures = [composed(mouth(height), TEETH) for height in heights]
    steps = [np.abs(after - before).max() for before, after in itertools.pairwise(pictures)]
    assert max(steps) < 50


@pytest.mark.parametrize(("colour", "stays"), [(WHITE, False), (PINK, True), (DARK, True)])
def test_an_interior_replaces_the_teeth_of_the_network_but_not_its_tongue(
    colour: tuple[int, int, int], stays: bool
) -> None:
    empty = Interior(NOTHING, NOTHING, (LARGE / 2, 24.0 * FACTOR), DARK)
    seen = composed(mouth(8.0), empty, colour)[66, MIDDLE]
    wanted = colour if stays else DARK
    assert np.abs(seen - wanted).max() < 12


def test_the_upper_lip_shades_the_interior() -> None:
    column = composed(mouth(8.0), TEETH)[:, MIDDLE, 0]
    assert column[51] < column[55] - 8


def test_other_spots_of_the_mask_neither_move_nor_show_an_interior() -> None:
    alone = mouth(8.0, 22.0)
    with_others = alone.copy()
    with_others[:4, 12:20] = 1.0  # above the mouth and below it, in its own columns
    with_others[30:, 10:20] = 1.0
    near = slice(10 * FACTOR, 26 * FACTOR), slice(3 * FACTOR, 29 * FACTOR)
    np.testing.assert_array_equal(composed(with_others, TEETH)[near], composed(alone, TEETH)[near])
    beyond = np.ones((LARGE, LARGE), bool)
    beyond[near] = False
    np.testing.assert_array_equal(composed(with_others, TEETH)[beyond], composed(with_others, None)[beyond])


def test_spots_of_the_mask_whose_boxes_overlap_are_each_shown_once() -> None:
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[4:28, 4:6] = mask[26:28, 4:28] = 0.5  # an angle
    mask[8:12, 16:20] = 0.5  # and a spot in its box
    shown = composed(mask, None, WHITE)
    wanted = (np.array(SKIN) + WHITE) / 2
    for row, column in ((10, 5), (27, 20), (10, 18)):
        seen = shown[row * FACTOR, column * FACTOR]
        np.testing.assert_allclose(seen, wanted, atol=1)


@pytest.mark.parametrize("rows", [(10, 30), (18, 22), (0, 32)])
def test_a_part_is_composed_as_in_the_whole(rows: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    target, reference = ((smooth(rng, LARGE, LARGE, 3) * 255).astype(np.uint8) for _ in range(2))
    offsets = ((smooth(rng, SIZE // 2, SIZE // 2, 2) - 0.5) * 0.3).transpose(2, 0, 1).copy()
    colours = (smooth(rng, SIZE, SIZE, 3) * 255).astype(np.uint8)
    part = Part(*rows, 4, 27, FACTOR)
    whole, alone = (
        compose(target, as_it_is(reference), 0.4, offsets, colours, mouth(8.0), Look(TEETH, wanted))
        for wanted in (None, part)
    )
    assert alone.shape == whole[part.large].shape
    inner = replace(part, top=part.top + 3, bottom=part.bottom - 3, left=part.left + 3, right=part.right - 3)
    if inner.top < inner.bottom:
        assert np.abs(whole[inner.large].astype(int) - alone[inner.within(part)]).max() <= 1
