"""Each measure against signals and pictures whose answer is known."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from model.evaluation import metrics
from model.framing import LOWER_FACE


def talking(frames: int = 120, seed: int = 0) -> np.ndarray:
    """Return a smooth curve like the aperture of speech, 0..0.2."""
    noise = np.random.default_rng(seed).random(frames + 8)
    smooth = np.convolve(noise, np.hanning(5) / 2, "same")[4:-4]
    return 0.2 * (smooth - smooth.min()) / np.ptp(smooth)


def picture(seed: int = 0, frames: int = 3, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("drawn", "wanted"),
    [
        (lambda curve: curve, 1.0),
        (lambda curve: 0.3 * curve + 0.1, 1.0),
        (lambda curve: -curve, -1.0),
        (np.zeros_like, math.nan),
        (lambda curve: np.full_like(curve, math.nan), math.nan),
        (lambda curve: np.where(np.arange(len(curve)) % 3 == 0, math.nan, curve), 1.0),
    ],
)
def test_correlation_sees_shape_and_not_size(drawn, wanted: float) -> None:
    curve = talking()
    assert metrics.correlation(drawn(curve), curve) == pytest.approx(wanted, nan_ok=True)


def test_unrelated_curves_hardly_correlate() -> None:
    found = [metrics.correlation(talking(seed=k), talking(seed=k + 100)) for k in range(20)]
    assert abs(np.median(found)) < 0.15


@pytest.mark.parametrize("lag", [-5, -2, 0, 1, 3, 5])
def test_a_shifted_curve_has_its_lag(lag: int) -> None:
    curve = talking(140)
    drawn = np.roll(curve, lag)[10:-10]
    assert metrics.best_lag([metrics.lag_curve(drawn, curve[10:-10])]) == lag


def test_no_curve_has_no_lag() -> None:
    flat = metrics.lag_curve(np.zeros(50), talking(50))
    assert math.isnan(metrics.best_lag([])) and math.isnan(metrics.best_lag([flat]))


def test_loudness_follows_a_hum_frame_by_frame() -> None:
    level = talking(60) + 0.01
    hum = np.sin(np.arange(60 * 640) * 0.3) * np.interp(np.arange(60 * 640) / 640, np.arange(60), level)
    found = metrics.loudness_db((hum * 30_000).astype(np.int16), 60, 25.0)
    assert np.corrcoef(found[1:-1], 20 * np.log10(level)[1:-1])[0, 1] > 0.95
    assert np.ptp(metrics.loudness_db(np.zeros(9000, np.int16), 20, 25.0)) == 0
    assert len(metrics.loudness_db(np.ones(3, np.int16), 20, 25.0)) == 20


@pytest.mark.parametrize(("silent", "wanted"), [(0.0, 0.0), (0.02, 0.0), (0.07, 0.25), (0.12, 0.5), (0.22, 1.0)])
def test_silence_is_measured_in_speaking_ranges_above_the_closed_lips(silent: float, wanted: float) -> None:
    spoken = np.linspace(0.01, 0.23, 101)  # 5th to 95th percentile: 0.021 to 0.219
    filmed = np.linspace(0.011, 0.3, 101) - 0.0035
    found = metrics.silent_ratio(np.full(50, silent), spoken, filmed)
    assert found == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize(
    ("at_frames", "wanted"),
    [([50], 1.0), ([20], 0.0), ([80], 0.0), ([50, 20], 0.5), ([49], 1.0), ([52], 0.0), ([], math.nan)],
)
def test_closures_are_seen_where_lips_meet(at_frames: list[int], wanted: float) -> None:
    aperture = np.full(100, 0.2)
    aperture[:10] = aperture[50:52] = 0.0  # rest, and lips that meet
    aperture[80:82] = 0.12  # lips that do not quite
    moments_s = [(frame / 25, (frame + 2) / 25) for frame in at_frames]
    assert metrics.closed_share(aperture, moments_s, 25.0) == pytest.approx(wanted, nan_ok=True)
    assert math.isnan(metrics.closed_share(np.full(100, 0.2), moments_s, 25.0))


def test_landmarks_moved_by_a_tenth_are_a_tenth_away() -> None:
    lips = np.random.default_rng(0).random((30, 40, 2)).astype(np.float32)
    moved = lips + np.array([0.06, 0.08], np.float32)
    assert metrics.lip_distance(moved, lips) == pytest.approx(0.1, rel=1e-4)
    moved[3:20] = np.nan
    assert metrics.lip_distance(moved, lips) == pytest.approx(0.1, rel=1e-4)


def test_jitter_ignores_steady_motion_and_grows_with_noise() -> None:
    rng = np.random.default_rng(1)
    glide = np.arange(40)[:, None, None] * np.full((40, 2), 0.01)
    assert metrics.jitter(glide) == pytest.approx(0, abs=1e-9)
    noise = rng.normal(0, 0.01, glide.shape)
    assert metrics.jitter(glide + 2 * noise) == pytest.approx(2 * metrics.jitter(glide + noise), rel=1e-6)
    assert math.isnan(metrics.jitter(glide[:2]))


@pytest.mark.parametrize(("noise", "wanted_db"), [(1.0, 48.1), (10.0, 28.1)])
def test_psnr_is_that_of_the_noise(noise: float, wanted_db: float) -> None:
    grey = np.full((4, 64, 64, 3), 128, np.uint8)
    noisy = grey + np.where(picture(1, 4) > 127, noise, -noise).astype(np.int16)
    assert metrics.psnr_db(noisy.astype(np.uint8), grey) == pytest.approx(wanted_db, abs=0.1)


def test_equal_pictures_have_no_noise_and_full_similarity() -> None:
    one = picture()
    assert metrics.psnr_db(one, one) == math.inf
    assert metrics.ssim(one, one) == pytest.approx(1.0)
    assert metrics.ssim(picture(5), one) < 0.1


@pytest.mark.parametrize("measure", [metrics.sharpness, metrics.detail])
def test_a_blurred_picture_is_less_sharp(measure) -> None:
    sharp = np.stack([cv2.GaussianBlur(one, (0, 0), 1.0) for one in picture()])
    blurred = np.stack([cv2.GaussianBlur(one, (0, 0), 1.5) for one in sharp])
    assert measure(blurred) < 0.6 * measure(sharp)
    assert measure(sharp // 2) < 0.3 * measure(sharp)


def test_flicker_is_in_levels_and_needs_three_frames() -> None:
    steady = np.repeat(picture(frames=1), 9, axis=0)
    blinking = (steady // 2 + (10 * (np.arange(9) % 2))[:, None, None, None]).astype(np.uint8)
    assert metrics.flicker(steady) == 0
    assert metrics.flicker(blinking) == pytest.approx(20, abs=0.5)
    assert math.isnan(metrics.flicker(steady[:2]))


def test_the_mouth_region_holds_the_lips_and_not_the_eyes() -> None:
    crops = np.zeros((1, 100, 100, 3), np.uint8)
    crops[:, round(LOWER_FACE.row(0.62) * 100), 50] = 255  # the line of the lips
    crops[:, round(LOWER_FACE.row(0.0) * 100)] = 7  # the eyes
    found = metrics.mouth_region(crops, LOWER_FACE)
    assert found.max() == 255 and 7 not in found


@pytest.mark.parametrize(
    ("rgb", "tone"), [((236, 200, 180), "light"), ((190, 145, 115), "medium"), ((95, 60, 45), "dark")]
)
def test_skin_tone_is_the_angle_of_the_cheeks(rgb: tuple[int, int, int], tone: str) -> None:
    crops = np.full((2, 96, 96, 3), rgb, np.uint8)
    crops[:, 60:] = (200, 30, 40)  # lips and chin do not count
    assert metrics.skin_tone(crops, LOWER_FACE) == tone
