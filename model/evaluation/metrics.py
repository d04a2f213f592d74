"""Metrics of drawn lips and pictures: arrays in, numbers out.

A curve is (T,) floats with one entry for each frame; frames without a face hold "not a number" and are left out. The
result is not a number if a metric is undefined, for example because nothing moves or there are too few frames. Lengths
are in template face units.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity

from model.arrays import F32, F64, I16, U8, Floats
from model.audio import SAMPLE_RATE_HZ
from model.framing import Framing

MAX_LAG_FRAMES = 5
_LEAST_FRAMES = 8
_LEAST_PEAK_R = 0.2
_LEAST_MOTION = 0.015  # noise of the face mesh on lips that do not move
_QUIET_BELOW_DB = 40.0
_SSIM_FRAMES = 25  # SSIM is slow, and neighbouring frames look alike
_CLOSED_SHARE = 0.15  # of the speaking range
_MOUTH = (0.36, 0.44, 0.90)  # half width, top and bottom of a region
_UPPER_FACE = (0.5, -0.12, 0.34)  # eyes, bridge and tip of the nose
_CHEEKS = ((-0.34, 0.34), (0.34, 0.34))  # x, y
_CHEEK_RADIUS = 0.07


def correlation(first: Floats, second: Floats) -> float:
    """Return Pearson's correlation coefficient r of two curves."""
    known = np.isfinite(first) & np.isfinite(second)
    a, b = first[known], second[known]
    if len(a) < _LEAST_FRAMES or min(a.std(), b.std()) < 1e-6:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def lag_curve(drawn: Floats, reference: Floats, reach: int = MAX_LAG_FRAMES) -> F64:
    """Return r at lags of -reach .. reach frames, (2 * reach + 1,); at a positive lag the drawn curve is late."""
    count = len(drawn)
    found = np.full(2 * reach + 1, np.nan)
    for lag in range(-reach, reach + 1):
        length = count - abs(lag)
        if length >= _LEAST_FRAMES:
            found[lag + reach] = correlation(drawn[max(0, lag) :][:length], reference[max(0, -lag) :][:length])
    return found


def best_lag(curves: Sequence[F64]) -> float:
    """Return the lag in frames at which the mean of several lag curves is highest, if that peak is high enough."""
    known = [curve for curve in curves if np.isfinite(curve).all()]
    mean = np.mean(known, axis=0) if known else np.zeros(1)
    return float(np.argmax(mean) - len(mean) // 2) if mean.max() > _LEAST_PEAK_R else float("nan")


def resampled(curve: Floats, known_fps: float, wanted_fps: float) -> Floats:
    """Return a curve (T,) resampled from one frame rate to another, over the same time."""
    if known_fps == wanted_fps:
        return curve
    frames = np.arange(int(len(curve) * wanted_fps / known_fps)) * known_fps / wanted_fps
    return np.interp(frames, np.arange(len(curve)), curve)


def loudness_db(samples: I16, frames: int, fps: float) -> F64:
    """Return the level of sound (n,) int16 at 16 kHz around each frame's time, (frames,) in dB of full scale.

    Levels are at least that of the loudest frame minus 40 dB.
    """
    reach = SAMPLE_RATE_HZ / fps / 2
    padded = np.concatenate([np.asarray(samples, np.float64), np.zeros(1)]) / 32768
    total = np.concatenate([[0.0], np.cumsum(padded**2)])
    middle = np.arange(frames) * SAMPLE_RATE_HZ / fps
    first = np.clip(np.round(middle - reach), 0, len(samples)).astype(np.int64)
    last = np.clip(np.round(middle + reach), first + 1, len(padded)).astype(np.int64)
    level = 10 * np.log10((total[last] - total[first]) / (last - first) + 1e-10)
    audible: F64 = np.maximum(level, level.max(initial=-100.0) - _QUIET_BELOW_DB)
    return audible


def speaking_range(aperture: Floats) -> tuple[float, float]:
    """Return the 5th and the 95th percentile of the aperture: how closed and how open lips are in speech."""
    known = aperture[np.isfinite(aperture)]
    if len(known) < _LEAST_FRAMES:
        return float("nan"), float("nan")
    low, high = np.percentile(known, (5, 95))
    return float(low), float(high)


def moves(aperture: Floats) -> bool:
    """Return whether lips move by more than the noise of the face mesh."""
    low, high = speaking_range(aperture)
    return bool(high - low > _LEAST_MOTION)


def silent_ratio(silent: Floats, spoken: Floats, filmed: Floats) -> float:
    """Return how far lips stay open in silence, in speaking ranges of the drawn lips.

    It counts from the aperture that the face mesh reads on the closed lips of the filmed face.
    """
    low, high = speaking_range(spoken)
    closed = speaking_range(filmed)[0]
    open_in_silence = speaking_range(silent)[1]
    return max(0.0, open_in_silence - closed) / (high - low) if moves(spoken) else float("nan")


def closed_share(aperture: Floats, moments_s: Sequence[tuple[float, float]], fps: float) -> float:
    """Return the share of moments (start, end) in which the aperture falls to the lowest 15 % of its range."""
    low, high = speaking_range(aperture)
    if not high - low > _LEAST_MOTION:
        return float("nan")
    seen = []
    for start_s, end_s in moments_s:
        first = round(start_s * fps)
        part = aperture[first : max(first + 1, round(end_s * fps))]
        if np.isfinite(part).any():
            seen.append(float(np.nanmin(part)) < low + _CLOSED_SHARE * (high - low))
    return float(np.mean(seen)) if seen else float("nan")


def lip_distance(drawn: Floats, reference: Floats) -> float:
    """Return the mean distance between two tracks of lip landmarks (T, L, 2)."""
    distance = np.hypot(*np.moveaxis(drawn - reference, -1, 0))
    return _mean(distance)


def jitter(landmarks: Floats) -> float:
    """Return the mean change of speed of landmarks (T, L, 2) from frame to frame."""
    if len(landmarks) < 3:
        return float("nan")
    return _mean(np.hypot(*np.moveaxis(np.diff(landmarks, 2, axis=0), -1, 0)))


def psnr_db(drawn: U8, reference: U8) -> float:
    """Return the peak signal-to-noise ratio in dB, a mean over frames (T, H, W, 3); infinite for equal frames."""
    error = np.array([np.mean((a.astype(np.float32) - b) ** 2) for a, b in zip(drawn, reference, strict=True)])
    with np.errstate(divide="ignore"):
        return float(np.mean(10 * np.log10(255.0**2 / error)))


def ssim(drawn: U8, reference: U8) -> float:
    """Return the structural similarity (Wang et al. 2004), a mean over at most 25 evenly spaced frames (T, H, W, 3)."""
    chosen = np.unique(np.linspace(0, len(drawn) - 1, _SSIM_FRAMES).round().astype(int))
    found = [
        structural_similarity(  # type: ignore[no-untyped-call]
            a, b, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(drawn[chosen], reference[chosen], strict=True)
    ]
    return float(np.mean(found))


def mouth_region(crops: U8, framing: Framing) -> U8:
    """Return the part of crops (T, S, S, 3) that shows the mouth, (T, H, W, 3)."""
    return np.asarray(_box(crops, framing, _MOUTH), np.uint8)


def _box(crops: U8 | F32, framing: Framing, box: tuple[float, float, float]) -> U8 | F32:
    """Return a region of crops (T, S, S, ...), given by half width, top and bottom in template face units."""
    size, (half, top, bottom) = crops.shape[1], box
    rows = [round(framing.row(y) * size) for y in (top, bottom)]
    columns = [round((x - framing.left) / framing.side * size) for x in (-half, half)]
    return crops[:, max(0, rows[0]) : min(size, rows[1]), max(0, columns[0]) : min(size, columns[1])]


def sharpness(crops: U8) -> float:
    """Return the mean energy of the gradient (Sobel) of crops (T, H, W, 3)."""
    return _mean(np.array([_gradient_energy(_grey(crop)) for crop in crops]))


def detail(crops: U8) -> float:
    """Return the mean variance of the Laplacian of crops (T, H, W, 3): their finest structure, with any noise."""
    return _mean(np.array([cv2.Laplacian(_grey(crop), cv2.CV_32F).var() for crop in crops]))


def face_detail(crops: U8, framing: Framing) -> F32:
    """Return the variance of the Laplacian in the mouth and in the upper face of crops (T, S, S, 3), (T, 2)."""
    found = np.full((len(crops), 2), np.nan, np.float32)
    for index, crop in enumerate(crops):
        edges = np.asarray(cv2.Laplacian(_grey(crop), cv2.CV_32F), np.float32)
        for column, box in enumerate((_MOUTH, _UPPER_FACE)):
            found[index, column] = _box(edges[None], framing, box).var()
    return found


def mouth_sharpness(drawn: Floats, filmed: Floats) -> float:
    """Return the detail of the mouth, in shares of the detail of the upper face, drawn over filmed.

    drawn, filmed: (T, 2) as `face_detail` returns them, not a number in frames that were not measured. The upper face
    is not redrawn, so what encoding and noise do to both cancels.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (drawn[:, 0] / drawn[:, 1]) / (filmed[:, 0] / filmed[:, 1])
    known = ratio[np.isfinite(ratio)]
    return float(np.median(known)) if known.size else float("nan")


def flicker(crops: U8) -> float:
    """Return the mean absolute second difference over time of crops (T, H, W, 3), in 8-bit levels."""
    if len(crops) < 3:
        return float("nan")
    grey = np.stack([_grey(crop) for crop in crops])
    return float(np.abs(np.diff(grey, 2, axis=0)).mean())


def typology_deg(crops: U8, framing: Framing) -> float:
    """Return the individual typology angle of the cheeks (Chardin et al. 1991), in degrees: the lighter, the higher.

    It is measured from crops (T, S, S, 3) uint8 RGB, so it also depends on the light of the scene.
    """
    size = crops.shape[1]
    radius = max(1, round(_CHEEK_RADIUS / framing.side * size))
    places = [(round(framing.row(y) * size), round((x - framing.left) / framing.side * size)) for x, y in _CHEEKS]
    some = crops[:: max(1, len(crops) // 8)]
    patches = [some[:, max(0, y - radius) : y + radius, max(0, x - radius) : x + radius] for y, x in places]
    lab = np.concatenate([rgb2lab(patch).reshape(-1, 3) for patch in patches])
    lightness, _, yellow = np.median(lab, axis=0)
    return float(np.degrees(np.arctan2(lightness - 50.0, yellow)))


def skin_tone(crops: U8, framing: Framing) -> str:
    """Return the band of the typology angle: light (above 41 degrees), medium (above 10) or dark."""
    angle = typology_deg(crops, framing)
    return "light" if angle > 41 else "medium" if angle > 10 else "dark"


def _grey(crop: U8) -> F32:
    """Return a crop (H, W, 3) as grey levels (H, W) in 0..255."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY), np.float32)


def _gradient_energy(grey: F32) -> float:
    """Return the mean squared length of the Sobel gradient."""
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    return float(np.mean(across**2 + down**2))


def _mean(values: Floats) -> float:
    """Return the mean of the finite values."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
