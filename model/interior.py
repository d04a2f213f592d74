"""The inside of a mouth at the size of a crop, in two layers.

The upper layer belongs to the skull and stays where it is; the lower one moves with the lower lip. Both are resampled
once, where they are seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from model.affine import warp
from model.arrays import F32, F64, U8


@dataclass(frozen=True)
class Layer:
    """Picture that covers a part of a crop: pixels (h,w,4) uint8 RGB and opacity; left, top: its place in crop pixels.

    zoom: how many of its pixels lie in one pixel of the crop, along each side.
    """

    pixels: U8
    left: int
    top: int
    zoom: int = 1

    def enlarged(self, zoom: int) -> Layer:
        """Return the layer with more pixels, so that it can be read quickly."""
        pixels = cv2.resize(self.pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        return Layer(np.asarray(pixels, np.uint8), self.left, self.top, self.zoom * zoom)


@dataclass(frozen=True)
class Interior:
    """Inside of a mouth in two layers, in the pixels of the crop that it was taken from, and its way into another crop.

    upper: the upper teeth, in place. lower: lower teeth and tongue, in place when the middle of the lower lip's inner
    edge is at `lip`, x and y. cavity: colour of the depth of the mouth, RGB 0..255; it replaces the teeth that the
    network draws, and leaves its tongue. motion: affine map (2,3) to the pixels of the other crop. light: what levels
    of RGB are multiplied by there, (3,).
    """

    upper: Layer
    lower: Layer
    lip: tuple[float, float]
    cavity: tuple[float, float, float]
    motion: F64 = field(default_factory=lambda: np.eye(2, 3))
    light: F64 = field(default_factory=lambda: np.ones(3))

    @property
    def moved_lip(self) -> F64:
        """Return where `lip` lies in the other crop, (2,)."""
        return np.asarray(self.motion @ (*self.lip, 1.0))

    @property
    def lit_cavity(self) -> F32:
        """Return the colour of the depth of the mouth in the other crop, (3,)."""
        return np.multiply(self.cavity, self.light, dtype=np.float32)

    def read(self, layer: Layer, first: tuple[float, float], size: tuple[int, int]) -> U8:
        """Return a part of the other crop as a layer of the interior shows it, (h,w,4) uint8 RGB and opacity.

        first: x and y of the part's corner; size: its width and height.
        """
        linear = self.motion[:, :2] / layer.zoom
        corner = self.motion @ (layer.left, layer.top, 1.0) - first
        matrix = np.concatenate([linear, (corner + linear @ (0.5, 0.5) - 0.5)[:, None]], axis=1)
        moved = warp(layer.pixels, cv2.invertAffineTransform(matrix), size)
        return np.asarray(cv2.multiply(moved, np.array([*self.light, 1.0])), np.uint8)  # rounds and clips
