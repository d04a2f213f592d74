"""Read the lips of a face in a finished frame, in template face units, at the place where the face was tracked."""

from __future__ import annotations

from typing import Final

import numpy as np

from model.arrays import F32, F64, U8
from model.face_points import LIP_EDGES
from model.framing import Framing
from worker.faces.crop import face_transform
from worker.faces.frame_view import PlanesView
from worker.faces.placed_mesh import SQUARE_FACTOR, SQUARE_PX, PlacedMesh
from worker.media.colour import ColourMatrix

_UNIT: Final = Framing(side=1.0, center_y=0.5)  # one pixel is one template face unit


def read_lips(mesh: PlacedMesh, planes: U8, colour: ColourMatrix, face: F32) -> F64 | None:
    """Return the points of the lips (40, 2) in template face units, None if no face is seen.

    planes: (H * 3/2, W) uint8 I420. face: the landmarks (468, 2) of its face in frame pixels, as tracked.
    """
    placed = face_transform(face, _UNIT, 1).apply(face)
    low, high = placed.min(axis=0), placed.max(axis=0)
    framing = Framing(SQUARE_FACTOR * float((high - low).max()), float(low[1] + high[1]) / 2)
    square = PlanesView(planes, colour).square(face_transform(face, framing, SQUARE_PX))
    points = mesh.fit(square)
    if points is None:
        return None
    unit_px = SQUARE_PX / framing.side
    return np.asarray(points[list(LIP_EDGES)] / unit_px + (framing.left, framing.top))
