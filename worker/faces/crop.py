"""Place the upper face on a fixed template and cut an upright square around it: the crop of training and of serving.

Only landmarks that do not move in speech (eye corners, brows, bridge of the nose) determine the similarity, so an
opening mouth does not move the crop. Coordinates are continuous pixels: pixel `i` covers [i, i + 1), its centre is at
i + 0.5. Chroma of 4:2:0 frames is sited left, which is the default of MPEG-2, H.264 and HEVC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from model.affine import resize, warp
from model.arrays import F64, U8
from model.face_points import EYE_CORNERS, LEFT_BROW, NOSE_BRIDGE, RIGHT_BROW
from model.framing import Framing
from worker.media.colour import ColourMatrix, rgb_of_planes, split_planes

cv2.setNumThreads(1)  # crops are small: waking other threads costs more time than they save

# Points that speech does not move. TEMPLATE holds the mean position of each of these
# points over 108 frontal faces. Template units: origin midway between the eyes; 1 is the distance to the chin
# of the mean face; x points right, y points down.
RIGID: Final = (*EYE_CORNERS, *NOSE_BRIDGE, *LEFT_BROW, *RIGHT_BROW)
# fmt: off
TEMPLATE: Final[F64] = np.array([
    (-0.415, -0.009), (-0.159, 0.009), (0.159, 0.009), (0.415, -0.009),
    (0, -0.052), (0, 0.024), (0, 0.09), (0, 0.152), (0, 0.217),
    (-0.524, -0.154), (-0.379, -0.241), (-0.135, -0.22),
    (0.135, -0.22), (0.379, -0.241), (0.524, -0.154),
])
# fmt: on

SPACING_PX: Final = 1.5  # between samples; each sample reads 2x2 pixels
COARSE_SPACING_PX: Final = 2.2  # the same where only a network looks


class Siting(NamedTuple):
    """Where the pixels of a plane lie: pixel (i, j) at the frame point (step * i + site x, step * j + site y)."""

    step: float
    site: tuple[float, float]


LUMA: Final = Siting(1.0, (0.5, 0.5))
CHROMA: Final = Siting(2.0, (0.5, 1.0))


@dataclass(frozen=True)
class Transform:
    """Similarity from frame pixels to crop pixels: `matrix` (2, 3) float64; `size`, side of the crop in pixels."""

    matrix: F64
    size: int

    @property
    def scale(self) -> float:
        """Return crop pixels per frame pixel."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    def resized(self, size: int) -> Transform:
        """Return the transform to a crop of another size that shows the same."""
        return Transform(self.matrix / (self.size / size), size)

    def apply(self, points: npt.ArrayLike) -> F64:
        """Map points (N, 2) in frame pixels to crop pixels."""
        return map_points(points, self.matrix)

    def invert(self, points: npt.ArrayLike) -> F64:
        """Map points (N, 2) in crop pixels to frame pixels."""
        return map_points(points, invert_affine(self.matrix))


def map_points(points: npt.ArrayLike, matrix: F64) -> F64:
    """Apply an affine map (2, 3) to points (N, 2)."""
    mapped: F64 = np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return mapped


def invert_affine(matrix: F64) -> F64:
    """Return the inverse of an affine map (2, 3)."""
    (a, b), (c, d) = matrix[:, :2]  # by hand: a linear algebra library would wake its threads for this
    linear = np.array([[d, -b], [-c, a]]) / (a * d - b * c)
    return np.concatenate([linear, -linear @ matrix[:, 2:]], axis=1)


def fit_similarity(source: F64, target: F64) -> F64:
    """Fit a similarity (2, 3) (rotation, scale, shift) from source (N, 2) to target (N, 2) by least squares."""
    source_mean, target_mean = (points.sum(axis=0) / len(points) for points in (source, target))
    a, b = source - source_mean, target - target_mean
    norm = float((a * a).sum())
    cosine = float((a * b).sum()) / norm
    sine = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / norm
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.concatenate([linear, (target_mean - linear @ source_mean)[:, None]], axis=1)


def fit_affine(source: F64, target: F64) -> F64:
    """Fit an affine map (2, 3) from source (N, 2) to target (N, 2) by least squares."""
    source_mean, target_mean = (points.sum(axis=0) / len(points) for points in (source, target))
    a, b = source - source_mean, target - target_mean
    # By hand: a linear algebra library would wake its threads for this.
    (xx, xy), (_, yy) = np.einsum("ni,nj->ij", a, a)
    crossed = np.einsum("ni,nj->ji", a, b)
    linear = crossed @ np.array([[yy, -xy], [-xy, xx]]) / (xx * yy - xy * xy)
    return np.concatenate([linear, (target_mean - linear @ source_mean)[:, None]], axis=1)


def face_transform(landmarks: npt.ArrayLike, framing: Framing, size: int) -> Transform:
    """Return the transform from the frame to the crop of `size` pixels for mesh landmarks (468, 2) in frame pixels."""
    rigid = np.asarray(landmarks, np.float64)[list(RIGID)]
    to_template = fit_similarity(rigid, TEMPLATE)
    zoom = size / framing.side
    shift = np.array([size / 2, size / 2 - framing.center_y * zoom])
    return Transform(
        np.concatenate([to_template[:, :2] * zoom, (to_template[:, 2] * zoom + shift)[:, None]], axis=1), size
    )


def square_transform(center_xy: npt.ArrayLike, side_px: float, size: int, turns: int = 0) -> Transform:
    """Return the transform from the square of `side_px` frame pixels around a point to `size` crop pixels.

    turns: quarter turns to the left that the picture in the crop is turned by.
    """
    zoom = size / side_px
    center = np.asarray(center_xy, np.float64)
    cosine, sine = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[turns % 4]
    linear = zoom * np.array([[cosine, sine], [-sine, cosine]])
    return Transform(np.concatenate([linear, (size / 2 - linear @ center)[:, None]], axis=1), size)


def extract_rgb(rgb: U8, transform: Transform, spacing_px: float = SPACING_PX) -> U8:
    """Cut the crop (S, S, 3) uint8 RGB out of an RGB frame (H, W, 3); outside the frame, its edge is repeated."""
    return _sample(rgb, transform, LUMA, spacing_px)


def extract(
    planes: U8,
    transform: Transform,
    colour: ColourMatrix,
    spacing_px: float = SPACING_PX,
    rows: slice | None = None,
) -> U8:
    """Cut the crop (S, S, 3) uint8 RGB out of an I420 frame (H * 3/2, W) uint8; outside it, its edge is repeated.

    spacing_px: largest distance between samples in pixels of a plane, before samples are averaged to the crop. rows:
    those that are cut out, (n, S, 3); None: all. Chroma is read linearly for some rows, and with a larger spacing.
    """
    y, *chroma = split_planes(planes)
    luma = _sample(y, transform, LUMA, spacing_px, rows)
    is_fine = rows is None and spacing_px <= SPACING_PX
    u, v = (_sample(plane, transform, CHROMA, spacing_px, rows, may_be_cubic=is_fine) for plane in chroma)
    return rgb_of_planes(luma, u, v, colour)


def extract_detail(planes: U8, transform: Transform, colour: ColourMatrix, rows: slice, seen: U8, pixels: U8) -> None:
    """Cut a crop out of an I420 frame: what a network sees of it, and what a viewer sees of it.

    seen (s, s, 3) uint8 RGB: gets the whole crop, reduced by a whole factor. pixels (S, S, 3): gets some rows of the
    crop, and above them, in squares of one colour, what the network sees; below them, nothing is written. rows:
    multiples of the factor. Without a factor, both get the whole crop.
    """
    factor, above = len(pixels) // len(seen), pixels[: rows.start]
    if factor == 1:
        seen[...] = pixels[...] = extract(planes, transform, colour)
        return
    seen[...] = extract(planes, transform.resized(len(seen)), colour, COARSE_SPACING_PX)
    if rows.start:
        cv2.resize(seen[: rows.start // factor], above.shape[1::-1], dst=above, interpolation=cv2.INTER_NEAREST)
    pixels[rows] = extract(planes, transform, colour, rows=rows)


def extract_luma(planes: U8, transform: Transform, spacing_px: float = SPACING_PX, rows: slice | None = None) -> U8:
    """Cut the luma (S, S) uint8 of a crop out of an I420 frame (H * 3/2, W) uint8; outside it, its edge is repeated.

    rows: those that are cut out, (n, S); None: all.
    """
    return _sample(split_planes(planes)[0], transform, LUMA, spacing_px, rows)


def _sample(
    image: U8,
    transform: Transform,
    siting: Siting,
    spacing_px: float,
    rows: slice | None = None,
    may_be_cubic: bool = True,
) -> U8:
    """Sample a plane at the pixels of a crop.

    If the crop has fewer pixels than the frame, a finer crop is sampled and averaged, which avoids aliasing. rows: of
    the crop; None: all. may_be_cubic: whether a plane that is enlarged is read with cubic interpolation; linear
    interpolation takes a third of the time.
    """
    first, last = (0, transform.size) if rows is None else (rows.start, rows.stop)
    reach = 1.0 / (transform.scale * siting.step)  # side of a pixel of the crop in pixels of the plane
    finer = max(1, int(np.ceil(reach / spacing_px - 1e-6)))
    # index of the fine crop -> crop pixels -> frame pixels -> index of the plane
    inverse = invert_affine(transform.matrix)
    linear = inverse[:, :2] / finer
    offset = linear @ (0.5, first * finer + 0.5) + inverse[:, 2] - siting.site
    size = (transform.size, last - first)
    fine = warp(
        image,
        np.concatenate([linear, offset[:, None]], axis=1) / siting.step,
        (size[0] * finer, size[1] * finer),
        cv2.INTER_CUBIC if reach < 1.0 and may_be_cubic else cv2.INTER_LINEAR,
        cv2.BORDER_REPLICATE,
    )
    return fine if finer == 1 else resize(fine, size, cv2.INTER_AREA)
