"""Convert between 8-bit Y'CbCr of limited range and RGB, with the matrix that the video is tagged with.

Only crops and blended regions are converted; whole frames stay as they were decoded.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from model.arrays import F32, U8


class ColourMatrix(Enum):
    """Matrix between R'G'B' and Y'CbCr, given by its luma weights (red, blue)."""

    BT601 = (0.299, 0.114)
    BT709 = (0.2126, 0.0722)

    @classmethod
    def for_height(cls, height: int) -> ColourMatrix:
        """Return the matrix that players assume for an untagged picture: BT.601 below 720 lines, else BT.709."""
        return cls.BT601 if height < 720 else cls.BT709

    @property
    def tag(self) -> int:
        """Return the number of the matrix in H.273."""
        return 6 if self is ColourMatrix.BT601 else 1

    @property
    def filter_name(self) -> str:
        """Return the name of the matrix in ffmpeg filters."""
        return "bt601" if self is ColourMatrix.BT601 else "bt709"

    @property
    def to_rgb(self) -> F32:
        """Return the (3, 3) matrix from limited-range (Y - 16, Cb - 128, Cr - 128) to full-range R, G, B."""
        red, blue = self.value
        green = 1.0 - red - blue
        gain, chroma = 255.0 / 219.0, 255.0 / 112.0
        r_cr, b_cb = (1.0 - red) * chroma, (1.0 - blue) * chroma
        return np.array(
            [[gain, 0.0, r_cr], [gain, -b_cb * blue / green, -r_cr * red / green], [gain, b_cb, 0.0]], np.float32
        )

    @property
    def from_rgb(self) -> F32:
        """Return the (3, 3) inverse of `to_rgb`."""
        return _inverse(self)


@lru_cache(maxsize=2)
def _inverse(colour: ColourMatrix) -> F32:
    inverse = np.asarray(np.linalg.inv(colour.to_rgb.astype(np.float64)), np.float32)
    inverse.setflags(write=False)
    return inverse


STRIPE_ROWS: Final = 256
OFFSET: Final = np.array([16.0, 128.0, 128.0], np.float32)
FACTOR_STEPS: Final = 1024  # steps of 1 in which OpenCV rounds the factors of a colour matrix for bytes


def rgb_of_planes(y: U8, u: U8, v: U8, colour: ColourMatrix) -> U8:
    """Convert Y, Cb and Cr planes of one size, (H, W) uint8, to RGB (H, W, 3) uint8."""
    matrix = np.concatenate([colour.to_rgb, -(colour.to_rgb @ OFFSET)[:, None]], axis=1)
    return convert_bytes(cv2.merge([y, u, v]), matrix, (128.0, 128.0, 128.0))


def convert_bytes(pixels: npt.ArrayLike, matrix: F32, usual: npt.ArrayLike) -> U8:
    """Apply an affine map (3, 4) to pixels (H, W, 3) uint8; the result is rounded and clipped.

    OpenCV rounds the factors, which is six times as fast as floats. The offset makes up for it at a usual pixel (3,).
    """
    factors = np.rint(matrix[:, :3] * FACTOR_STEPS) / FACTOR_STEPS
    offset = matrix[:, 3] + (matrix[:, :3] - factors) @ np.asarray(usual, np.float32)
    return np.asarray(
        cv2.transform(np.asarray(pixels, np.uint8), np.concatenate([factors, offset[:, None]], axis=1)), np.uint8
    )


def ycc_of_rgb(rgb: U8 | F32, colour: ColourMatrix) -> F32:
    """Convert RGB (H, W, 3), 0..255, to limited-range Y, Cb, Cr (H, W, 3) float32, not rounded."""
    return np.asarray(cv2.transform(rgb.astype(np.float32), ycc_matrix(colour)), np.float32)


def ycc_matrix(colour: ColourMatrix) -> F32:
    """Return the affine map (3, 4) from R, G, B to limited-range Y, Cb, Cr."""
    return np.concatenate([colour.from_rgb, OFFSET[:, None]], axis=1)


def planes_of_rgb(rgb: U8, colour: ColourMatrix) -> U8:
    """Convert RGB (H, W, 3) uint8 to an I420 frame (H * 3/2, W) uint8; an odd size grows by one row or column."""
    rgb = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
    height, width = rgb.shape[:2]
    planes = np.empty((height * 3 // 2, width), np.uint8)
    y, u, v = split_planes(planes)
    for top in range(0, height, STRIPE_ROWS):  # a large picture in float32 would take a quarter of a gigabyte
        ycc = ycc_of_rgb(rgb[top : top + STRIPE_ROWS], colour)
        y[top : top + STRIPE_ROWS] = np.clip(np.rint(ycc[..., 0]), 0, 255)
        pairs = (ycc[0::2, :, 1:] + ycc[1::2, :, 1:]) / 2
        odd = pairs[:, 1::2]
        left = np.concatenate([pairs[:, :1], odd[:, :-1]], axis=1)
        chroma = np.clip(np.rint((left + 2 * pairs[:, 0::2] + odd) / 4), 0, 255)  # sited left
        rows = slice(top // 2, top // 2 + chroma.shape[0])
        u[rows], v[rows] = chroma[..., 0], chroma[..., 1]
    return planes


def split_planes(planes: U8) -> tuple[U8, U8, U8]:
    """Return views of an I420 frame (H * 3/2, W): Y (H, W), U and V (H/2, W/2); nothing is copied."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    flat = planes.reshape(-1)
    area = height * width
    return (
        flat[:area].reshape(height, width),
        flat[area : area + area // 4].reshape(height // 2, width // 2),
        flat[area + area // 4 :].reshape(height // 2, width // 2),
    )
