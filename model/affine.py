"""Move a picture by an affine map, with the kernels of Intel's library where OpenCV was built with it.

They place each pixel exactly. OpenCV's own ones, which it prefers because they are the same everywhere, round places to
1/32 of a pixel and take twice as long. Where there is no such library, the same call uses OpenCV's own ones.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from model.arrays import F32, F64, U8

Pixels = TypeVar("Pixels", U8, F32)


def warp(
    picture: Pixels,
    inverse: npt.NDArray[np.float32] | F64,
    size: tuple[int, int],
    interpolation: int = cv2.INTER_LINEAR,
    border: int = cv2.BORDER_CONSTANT,
) -> Pixels:
    """Return a picture of a size (width, height) whose pixels lie at `inverse` (2, 3) of their place in `picture`.

    picture: (H, W) or (H, W, C). border: of OpenCV, what lies outside the picture. Places are counted in pixels, from
    the middle of the first one. The cubic curve of Intel's kernels is the one of Catmull and Rom.
    """
    cv2.ipp.setUseIPP_NotExact(True)  # of this thread
    try:
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(picture, inverse, size, flags=flags, borderMode=border), picture.dtype)
    finally:
        cv2.ipp.setUseIPP_NotExact(False)  # it would change by a level what others do in this thread
