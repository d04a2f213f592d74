from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.framing import LOWER_FACE, Framing
from worker.faces.crop import (
    COARSE_SPACING_PX,
    RIGID,
    SPACING_PX,
    TEMPLATE,
    Transform,
    extract,
    extract_detail,
    extract_rgb,
    face_transform,
    fit_similarity,
    invert_affine,
    map_points,
    square_transform,
)
from worker.media.colour import ColourMatrix, planes_of_rgb, ycc_of_rgb


def placed(scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    """Return mesh landmarks whose rigid points are the template, turned, scaled and moved."""
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = np.zeros((468, 2))
    landmarks[list(RIGID)] = TEMPLATE @ turn.T + shift
    return landmarks


@pytest.mark.parametrize("degrees", [-40.0, 0.0, 25.0, 90.0])
@pytest.mark.parametrize("scale", [20.0, 180.0])
def test_the_fit_finds_what_was_done(degrees: float, scale: float) -> None:
    transform = face_transform(placed(scale, degrees, (300.0, 200.0)), LOWER_FACE, 96)
    assert transform.scale == pytest.approx(96 / LOWER_FACE.side / scale)
    assert transform.apply([(300.0, 200.0)])[0] == pytest.approx((48.0, 96 * LOWER_FACE.row(0.0)))


def test_the_chin_of_the_mean_face_lies_where_the_framing_says() -> None:
    landmarks = placed(100.0, 0.0, (300.0, 200.0))
    chin = face_transform(landmarks, LOWER_FACE, 96).apply([(300.0, 300.0)])[0]
    assert chin == pytest.approx((48.0, 96 * LOWER_FACE.row(1.0)))


def test_the_mouth_does_not_move_the_crop() -> None:
    landmarks = placed(100.0, 10.0, (300.0, 200.0))
    opened = landmarks.copy()
    opened[[13, 14, 17, 152, 61, 291]] += 25.0
    before, after = (face_transform(points, LOWER_FACE, 96).matrix for points in (landmarks, opened))
    assert np.array_equal(before, after)


def test_inverses_undo() -> None:
    transform = face_transform(placed(70.0, 33.0, (120.0, 90.0)), Framing(1.5, 0.3), 128)
    points = np.random.default_rng(0).uniform(0, 300, (20, 2))
    assert transform.invert(transform.apply(points)) == pytest.approx(points)
    matrix = fit_similarity(points, map_points(points, transform.matrix))
    assert matrix == pytest.approx(transform.matrix)
    assert invert_affine(invert_affine(matrix)) == pytest.approx(matrix)


def test_a_crop_of_the_same_scale_is_the_very_pixels() -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    crop = extract_rgb(rgb, square_transform((40.0, 30.0), 32.0, 32))
    assert np.array_equal(crop, rgb[14:46, 24:56])


@pytest.mark.parametrize("factor", [2, 4, 6, 8, 12])
def test_a_smaller_crop_averages_instead_of_skipping(factor: int) -> None:
    checks = (np.indices((192, 192)).sum(axis=0) % 2 * 255).astype(np.uint8)
    rgb = np.repeat(checks[..., None], 3, axis=2)
    crop = extract_rgb(rgb, square_transform((96.0, 96.0), 96.0, 96 // factor))
    assert np.abs(crop.astype(int) - 127).max() <= 16


@pytest.mark.parametrize("reach", [4, 6, 8, 13])
def test_averaging_does_not_make_flat_or_noisy_pictures_lighter(reach: int) -> None:
    size = 240 // reach
    noise = np.random.default_rng(8).integers(90, 110, (size * reach, size * reach, 3)).astype(np.uint8)
    transform = square_transform((size * reach / 2, size * reach / 2), size * reach, size)
    for spacing_px in (SPACING_PX, COARSE_SPACING_PX):
        crop = extract_rgb(noise, transform, spacing_px)
        assert np.abs(crop.mean() - noise.mean()) < 0.15  # not every OpenCV rounds halves to even
        assert np.abs(crop - noise.reshape(size, reach, size, reach, 3).mean(axis=(1, 3))).mean() < 2
        assert (extract_rgb(np.full_like(noise, 99), transform, spacing_px) == 99).all()


@pytest.mark.parametrize("colour", list(ColourMatrix))
def test_planes_and_rgb_give_the_same_crop(colour: ColourMatrix) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    rgb = cv2.GaussianBlur(noise, (0, 0), 4).astype(np.uint8)
    transform = Transform(face_transform(placed(40.0, 12.0, (80.0, 50.0)), LOWER_FACE, 64).matrix, 64)
    a = extract_rgb(rgb, transform).astype(int)
    b = extract(planes_of_rgb(rgb, colour), transform, colour).astype(int)
    assert np.abs(a - b).max() <= 6
    assert np.abs(a - b).mean() < 1.2


@pytest.mark.parametrize("turns", range(4))
def test_a_square_is_turned_to_the_left(turns: int) -> None:
    rgb = np.random.default_rng(5).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    upright = extract_rgb(rgb, square_transform((40.0, 30.0), 32.0, 32))
    assert np.array_equal(extract_rgb(rgb, square_transform((40.0, 30.0), 32.0, 32, turns)), np.rot90(upright, turns))


def test_beyond_the_frame_its_edge_goes_on() -> None:
    rgb = np.full((20, 20, 3), (10, 20, 30), np.uint8)
    crop = extract_rgb(rgb, square_transform((0.0, 0.0), 40.0, 40))
    assert (crop == (10, 20, 30)).all()


def test_some_rows_of_a_crop_have_its_detail_and_a_network_sees_all_of_it_reduced() -> None:
    noise = np.random.default_rng(6).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    planes = planes_of_rgb(np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8), ColourMatrix.BT709)
    transform, rows = face_transform(placed(80.0, 7.0, (160.0, 100.0)), LOWER_FACE, 192), slice(40, 80)
    whole = extract(planes, transform, ColourMatrix.BT709)
    seen, pixels = np.zeros((48, 48, 3), np.uint8), np.full((192, 192, 3), 7, np.uint8)
    extract_detail(planes, transform, ColourMatrix.BT709, rows, seen, pixels)
    luma, wanted_luma = (ycc_of_rgb(crop[rows], ColourMatrix.BT709)[..., 0] for crop in (pixels, whole))
    assert np.abs(luma - wanted_luma).max() <= 1
    assert np.abs(pixels[rows].astype(int) - whole[rows]).mean() <= 1  # chroma is read linearly
    wanted = cv2.resize(whole, (48, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(seen.astype(int) - wanted).max() <= 3
    np.testing.assert_array_equal(pixels[:40], seen[:10].repeat(4, axis=0).repeat(4, axis=1))
    assert (pixels[80:] == 7).all()


def test_a_crop_that_is_not_reduced_is_seen_and_shown_alike() -> None:
    planes = planes_of_rgb(
        np.random.default_rng(9).integers(0, 256, (120, 160, 3)).astype(np.uint8), ColourMatrix.BT601
    )
    transform = face_transform(placed(60.0, 7.0, (80.0, 50.0)), LOWER_FACE, 96)
    seen, pixels = np.zeros((2, 96, 96, 3), np.uint8)
    extract_detail(planes, transform, ColourMatrix.BT601, slice(20, 40), seen, pixels)
    np.testing.assert_array_equal(seen, extract(planes, transform, ColourMatrix.BT601))
    np.testing.assert_array_equal(pixels, seen)
