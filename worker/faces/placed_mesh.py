"""Fit the face mesh to a face whose place is known, without searching for it.

It is three times as fast as `FaceDetector.fit_mesh`, which looks for faces in the square first. Calls are independent.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from model.arrays import F64, U8
from worker.faces.native_graph import MeshFitter

SQUARE_PX: Final = 192  # side of the mesh network's input
SQUARE_FACTOR: Final = 1.5  # side of the square around a face, in sides of the box of its landmarks


class PlacedMesh:
    """Face mesh for squares that are known to show a face, for one thread at a time; it is ready until `close`."""

    def __init__(self) -> None:
        self._fitter = MeshFitter()
        self.fit(np.zeros((SQUARE_PX, SQUARE_PX, 3), np.uint8))  # the first call still allocates

    def fit(self, square: U8) -> F64 | None:
        """Return the landmarks (468, 2), in pixels, of the face that fills a square (S, S, 3) uint8 RGB.

        Returns None if the square shows no face.
        """
        found = self._fitter.fit(square)
        return None if found is None else found[:, :2] * len(square)

    def close(self) -> None:
        """Free the native graph."""
        self._fitter.close()
