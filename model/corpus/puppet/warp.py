"""Draw a picture through a bent mesh.

Each triangle has one affine map, and each pixel of the result is labelled with its triangle. One `remap` then draws all
pixels at once.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from model.arrays import F32, F64, U8


def invert_affine(matrix: F64) -> F64:
    """Invert a (2, 3) affine map in closed form.

    A linear algebra library would start its threads for each of these tiny matrices.
    """
    (a, b, c), (d, e, f) = matrix
    area = a * e - b * d
    return np.asarray(np.array([[e, -b, b * f - c * e], [-d, a, c * d - a * f]]) / area, np.float64)


def draw_mesh(picture: U8, source: F64, target: F64, size: int) -> U8:
    """Draw a picture (H, W, 3) uint8 through a bent mesh onto a square of `size` px; return (size, size, 3) uint8.

    source, target: (T, 3, 2) corners of each triangle, in pixels of the picture and of the square. Later triangles
    cover earlier ones. Beyond its border the picture is mirrored.
    """
    maps, flat = _affine_maps(target, source)
    labels = np.zeros((size, size), np.uint16)
    for index, triangle in enumerate(np.round((target - 0.5) * 16).astype(np.int32)):
        if not flat[index]:  # the neighbours of a flat triangle cover it
            cv2.fillConvexPoly(labels, triangle, (index,), lineType=cv2.LINE_8, shift=4)
    chosen = maps[labels]  # (size, size, 6)
    grid = np.arange(size, dtype=np.float32)
    x = chosen[..., 0] * grid + chosen[..., 1] * grid[:, None] + chosen[..., 2]
    y = chosen[..., 3] * grid + chosen[..., 4] * grid[:, None] + chosen[..., 5]
    drawn = cv2.remap(picture, x, y, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(drawn, np.uint8)


def _affine_maps(target: F64, source: F64) -> tuple[F32, NDArray[np.bool_]]:
    """Return the map of each triangle and whether the triangle is flat.

    target, source: (T, 3, 2) corners in pixels. The maps are (T, 6) float32, from a pixel index of the target to one of
    the source; an index counts from the centre of the first pixel. The flags are (T,) bool.
    """
    a, b = target[:, 1] - target[:, 0], target[:, 2] - target[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    flat = np.abs(area) < 0.4
    area = np.where(flat, 1.0, area)
    p, q = source[:, 1] - source[:, 0], source[:, 2] - source[:, 0]
    along_x = (p * b[:, 1:2] - q * a[:, 1:2]) / area[:, None]
    along_y = (q * a[:, 0:1] - p * b[:, 0:1]) / area[:, None]
    shift = source[:, 0] - along_x * target[:, 0, 0:1] - along_y * target[:, 0, 1:2]
    shift = shift + 0.5 * along_x + 0.5 * along_y - 0.5
    columns = [along_x[:, 0], along_y[:, 0], shift[:, 0], along_x[:, 1], along_y[:, 1], shift[:, 1]]
    return np.stack(columns, axis=1).astype(np.float32), flat
