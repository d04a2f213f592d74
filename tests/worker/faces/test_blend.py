from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from model.composition import shrink
from model.face_points import CHIN, JAW_OUTLINE
from model.framing import LOWER_FACE
from worker.faces.blend import (
    MAX_SHIFT,
    OVERSHOOT,
    TONE_Y,
    BlendSettings,
    FaceMask,
    SynthesizedCrop,
    blend,
    mouth_mask,
    rim_tone,
    sharpen,
)
from worker.faces.crop import Transform, extract, face_transform
from worker.faces.detect import FaceDetector
from worker.media.colour import ColourMatrix, planes_of_rgb, split_planes, ycc_of_rgb

COLOUR = ColourMatrix.BT709
LIPS = [13, 14, 0, 17, 61, 291]  # upper and lower lip, corners


@pytest.fixture(scope="module")
def scene(detector: FaceDetector) -> tuple[np.ndarray, np.ndarray]:
    """The portrait's planes at twice its size, and its face."""
    rgb = np.repeat(np.repeat(astronaut(), 2, axis=0), 2, axis=1)
    return planes_of_rgb(rgb, COLOUR), detector.detect(rgb)[0].landmarks


def blended(scene: tuple[np.ndarray, np.ndarray], paint: tuple[int, int, int] | None, **options: float) -> np.ndarray:
    planes, face = scene
    transform = face_transform(face, LOWER_FACE, 96)
    crop = extract(planes, transform, COLOUR)
    drawn = crop.copy()
    if paint is not None:
        drawn[round(96 * LOWER_FACE.hidden_from) :] = paint
    result = planes.copy()
    settings = BlendSettings(LOWER_FACE, COLOUR, 96, **options)
    blend_crop(result, face, transform, crop, drawn, settings)
    return result


def blend_crop(
    planes: np.ndarray,
    face: np.ndarray,
    transform: Transform,
    filmed: np.ndarray,
    drawn: np.ndarray,
    settings: BlendSettings,
) -> None:
    mask = FaceMask.of(face, transform, settings)
    seen = shrink(filmed[None], settings.network_px)[0]
    blend(planes, SynthesizedCrop(face, transform, seen, drawn, mask), settings)


def match_tone(drawn: np.ndarray, filmed: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a drawn crop in the tone of the filmed one, both (96, 96, 3)."""
    upper = slice(0, int(np.ceil(LOWER_FACE.row(TONE_Y) * len(mask))))
    gain, offset = rim_tone(drawn[upper], filmed[upper], mask[upper])
    return drawn * gain + offset


def changed_box(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(split_planes(before)[0] != split_planes(after)[0])
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_only_the_lower_face_changes_and_all_else_keeps_its_bytes(scene: tuple[np.ndarray, np.ndarray]) -> None:
    planes, face = scene
    left, top, right, bottom = changed_box(planes, blended(scene, (0, 255, 0)))
    nose_y, chin_y = face[4, 1], face[CHIN, 1]
    height = chin_y - face[10, 1]
    assert top > nose_y - 0.1 * height
    assert chin_y < bottom < chin_y + 0.2 * height
    assert left > face[:, 0].min() - 0.1 * height
    assert right < face[:, 0].max() + 0.1 * height


def test_the_lips_are_fully_those_of_the_network(scene: tuple[np.ndarray, np.ndarray]) -> None:
    y, u, v = split_planes(blended(scene, (0, 200, 0)))
    for x, row in scene[1][LIPS].astype(int):
        assert u[row // 2, x // 2] < 110
        assert v[row // 2, x // 2] < 110
    assert y.dtype == np.uint8


def test_a_crop_given_back_as_it_was_changes_little(scene: tuple[np.ndarray, np.ndarray]) -> None:
    difference = np.abs(blended(scene, None).astype(int) - scene[0])
    assert 0 < difference.max() < 90  # edges are softer through the small crop
    assert difference[difference > 0].mean() < 6


@pytest.mark.parametrize("rgb", [(201, 156, 132), (129, 134, 189), (90, 101, 179), (82, 171, 105)])
def test_an_even_colour_given_back_stays_the_same(
    scene: tuple[np.ndarray, np.ndarray], rgb: tuple[int, int, int]
) -> None:
    planes = planes_of_rgb(np.full((1024, 1024, 3), rgb, np.uint8), COLOUR)
    transform = face_transform(scene[1], LOWER_FACE, 96)
    crop = np.full((96, 96, 3), rgb, np.uint8)
    result = planes.copy()
    blend_crop(result, scene[1], transform, crop, crop, BlendSettings(LOWER_FACE, COLOUR, 96))
    np.testing.assert_array_equal(result, planes)


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_strength_scales_the_change(scene: tuple[np.ndarray, np.ndarray], strength: float) -> None:
    full = blended(scene, (0, 200, 0)).astype(int) - scene[0]
    part = blended(scene, (0, 200, 0), strength=strength).astype(int) - scene[0]
    assert np.abs(part - strength * full).max() <= 1.5


@pytest.mark.parametrize(("padding", "grows"), [(-0.1, -1), (0.1, 1), (0.4, 1)])
def test_padding_grows_the_region(scene: tuple[np.ndarray, np.ndarray], padding: float, grows: int) -> None:
    plain, other = (blended(scene, (0, 200, 0), padding=value) != scene[0] for value in (0.0, padding))
    assert np.sign(int(other.sum()) - int(plain.sum())) == grows


def test_the_mask_follows_the_jaw(scene: tuple[np.ndarray, np.ndarray]) -> None:
    points = face_transform(scene[1], LOWER_FACE, 96).apply(scene[1])
    opened = points.copy()
    opened[list(JAW_OUTLINE)[6:15], 1] += 6.0
    closed_rows, open_rows = (
        int(np.flatnonzero(mouth_mask(p, 96, LOWER_FACE, 0.0).max(axis=1) > 0.5).max()) for p in (points, opened)
    )
    assert open_rows > closed_rows + 3


@pytest.mark.parametrize("yaw", [-20, 0, 20])
def test_the_mask_ends_inside_the_face_and_holds_the_lips(detector: FaceDetector, yaw: float) -> None:
    face = detector.detect(astronaut())[0]
    a = np.radians(yaw)
    middle = face.landmarks.mean(axis=0)
    points = face.landmarks.astype(np.float64)
    points[:, 0] = middle[0] + (points[:, 0] - middle[0]) * np.cos(a) - (face.depths - face.depths.mean()) * np.sin(a)
    at = face_transform(points, LOWER_FACE, 192).apply(points)
    mask = mouth_mask(at, 192, LOWER_FACE, 0.0)
    sides = at[[234, 93, 132, 454, 323, 361]]
    shown = [mask[int(y), int(x)] for x, y in sides if 0 <= x < 192 and 0 <= y < 192]
    assert max(shown, default=0.0) < 0.25
    assert min(mask[int(y), int(x)] for x, y in at[LIPS]) > 0.75


@pytest.mark.parametrize("padding", [-0.3, 0.0, 0.5])
def test_the_mask_is_soft_and_ends_before_the_border(scene: tuple[np.ndarray, np.ndarray], padding: float) -> None:
    points = face_transform(scene[1], LOWER_FACE, 96).apply(scene[1])
    mask = mouth_mask(points, 96, LOWER_FACE, padding)
    assert mask.min() == 0.0
    assert mask.max() <= 1.0
    assert max(mask[:, 0].max(), mask[:, -1].max(), mask[-1].max(), mask[0].max()) < 0.05
    assert np.abs(np.diff(mask, axis=0)).max() < 0.35
    assert np.abs(np.diff(mask, axis=1)).max() < 0.35


def test_a_change_of_tone_is_taken_back(scene: tuple[np.ndarray, np.ndarray]) -> None:
    transform = face_transform(scene[1], LOWER_FACE, 96)
    filmed = ycc_of_rgb(extract(scene[0], transform, COLOUR), COLOUR)
    mask = mouth_mask(transform.apply(scene[1]), 96, LOWER_FACE, 0.0)
    shifted = filmed + np.array([6.0, -3.0, 2.0], np.float32)
    assert np.allclose(match_tone(shifted, filmed, mask), filmed, atol=0.01)
    flatter = filmed * np.float32(0.85) + np.float32(4.0)
    before, after = (np.abs(tone - filmed)[mask > 0.1].mean() for tone in (flatter, match_tone(flatter, filmed, mask)))
    assert after < 0.5 * before
    left = np.abs(match_tone(filmed + np.float32(MAX_SHIFT + 30.0), filmed, mask) - filmed)
    assert left.max() == pytest.approx(30.0, abs=0.01)


def test_pixels_that_show_different_things_do_not_count_for_the_tone(scene: tuple[np.ndarray, np.ndarray]) -> None:
    transform = face_transform(scene[1], LOWER_FACE, 96)
    filmed = ycc_of_rgb(extract(scene[0], transform, COLOUR), COLOUR)
    mask = mouth_mask(transform.apply(scene[1]), 96, LOWER_FACE, 0.0)
    drawn = filmed + np.float32(5.0)
    drawn[52:60, 14:24] -= np.float32(90.0)  # a strand of hair that only the reference shows
    matched = match_tone(drawn, filmed, mask)
    assert np.abs(matched - filmed)[64:80, 36:60].max() < 2.0


def test_soft_pixels_become_as_sharp_as_the_film_and_do_not_ring(scene: tuple[np.ndarray, np.ndarray]) -> None:
    filmed = np.ascontiguousarray(split_planes(scene[0])[0][100:400:2, 300:600:2])
    skin = np.ones(filmed.shape, bool)
    soft = np.asarray(cv2.GaussianBlur(filmed, (0, 0), 0.6), np.uint8)
    sharp = sharpen(soft, filmed, skin)
    wanted, before, after = (roughness(luma) for luma in (filmed, soft, sharp))
    assert before < 0.7 * wanted
    assert 0.8 * wanted < after < 1.1 * wanted
    around = np.ones((3, 3), np.uint8)
    assert (sharp.astype(int) <= cv2.dilate(soft, around).astype(int) + OVERSHOOT).all()
    assert (sharp.astype(int) >= cv2.erode(soft, around).astype(int) - OVERSHOOT).all()
    np.testing.assert_array_equal(sharpen(filmed, soft, skin), filmed)  # detail is never taken away


def roughness(luma: np.ndarray) -> float:
    return float(np.sqrt(np.square(cv2.Laplacian(luma, cv2.CV_32F)).mean()))


@pytest.mark.parametrize("corner", [(-300.0, -200.0), (-150.0, 0.0), (450.0, 700.0)])
def test_a_face_half_outside_the_frame_is_blended_where_it_shows(
    scene: tuple[np.ndarray, np.ndarray], corner: tuple[float, float]
) -> None:
    planes, face = scene[0].copy(), (scene[1] + np.array(corner)).astype(np.float32)
    transform = face_transform(face, LOWER_FACE, 96)
    drawn = np.zeros((96, 96, 3), np.uint8)
    blend_crop(planes, face, transform, drawn, drawn, BlendSettings(LOWER_FACE, COLOUR, 96))
    assert planes.shape == scene[0].shape


def test_a_small_face_is_blended_too(detector: FaceDetector) -> None:
    rgb = np.ascontiguousarray(astronaut()[::3, ::3])
    planes = planes_of_rgb(rgb, COLOUR)
    face = detector.detect(astronaut())[0].landmarks / 3
    transform = face_transform(face, LOWER_FACE, 96)
    crop = extract(planes, transform, COLOUR)
    result = planes.copy()
    blend_crop(result, face, transform, crop, crop, BlendSettings(LOWER_FACE, COLOUR, 96))
    assert np.abs(result.astype(int) - planes).max() < 60


def test_only_the_part_of_the_mask_is_read(scene: tuple[np.ndarray, np.ndarray]) -> None:
    planes, face = scene
    transform, settings = face_transform(face, LOWER_FACE, 288), BlendSettings(LOWER_FACE, COLOUR, 96)
    crop = extract(planes, transform, COLOUR)
    part = FaceMask.of(face, transform, settings).part
    assert part is not None
    alone = np.zeros_like(crop)
    alone[part.large] = crop[part.large]
    whole, partial = planes.copy(), planes.copy()
    blend_crop(whole, face, transform, crop, crop, settings)
    blend_crop(partial, face, transform, alone, alone, settings)
    np.testing.assert_array_equal(whole, partial)
