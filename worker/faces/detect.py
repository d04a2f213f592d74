"""Find faces: a full-range detector on the whole picture, then a face mesh on a square around each detection.

Each call stands alone (no tracking state), so any range of frames gives the same faces as the whole clip. The mesh by
itself misses small faces and the short-range detector misses most street scenes; the full-range one does not. In a
large picture where it finds nothing, overlapping tiles are searched. This module alone knows mediapipe.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import numpy as np

from model.arrays import F32, U8, Floats
from model.face_points import CHIN, FOREHEAD, LEFT_CORNER, LOWER_LIP, RIGHT_CORNER, UPPER_LIP
from worker.faces.crop import square_transform
from worker.faces.frame_view import Picture, RgbPicture

OVERVIEW_PX: Final = 400  # longest side given to the detector, whose own input is 192 px
MESH_PX: Final = 256  # square given to the mesh, whose own input is 192 px of it
SQUARE_FACTOR: Final = 2.0  # side of that square in detection boxes, which end at the brows and below the lips
MIN_SCORE: Final = 0.5
MIN_TILED_PX: Final = 720  # pictures with a longer side than this are searched in tiles when nothing was found
TILE_PX: Final = 640
MAX_TILES: Final = 8
SAME_FACE_IOU: Final = 0.4


@dataclass(frozen=True)
class Face:
    """One face of a frame: mesh landmarks (468, 2) float32 in frame pixels, and the detector's score 0..1."""

    landmarks: F32
    score: float

    @property
    def height_px(self) -> float:
        """Return the distance from forehead to chin."""
        return float(np.hypot(*(self.landmarks[CHIN] - self.landmarks[FOREHEAD])))

    @property
    def center(self) -> F32:
        """Return the middle of the box, (2,)."""
        left, top, right, bottom = self.box
        return np.array([(left + right) / 2, (top + bottom) / 2], np.float32)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return left, top, right, bottom of the landmarks."""
        low, high = self.landmarks.min(axis=0), self.landmarks.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def mouth_size(landmarks: Floats) -> tuple[float, float]:
    """Return lip aperture and mouth width of (468, 2) landmarks, in their unit."""
    gap = landmarks[LOWER_LIP] - landmarks[UPPER_LIP]
    across = landmarks[RIGHT_CORNER] - landmarks[LEFT_CORNER]
    return float(np.hypot(*gap)), float(np.hypot(*across))


class FaceDetector:
    """Find faces and their mesh in single pictures; use as a context manager, from one thread at a time."""

    def __init__(self) -> None:
        self._warm = False
        with _quiet_native_logs():
            from mediapipe.python.solutions import face_detection, face_mesh

            self._detector: Any = face_detection.FaceDetection(model_selection=1, min_detection_confidence=MIN_SCORE)
            self._mesh: Any = face_mesh.FaceMesh(static_image_mode=True, max_num_faces=2, min_detection_confidence=0.3)
            blank = np.zeros((MESH_PX, MESH_PX, 3), np.uint8)
            self._detector.process(blank)  # the first call of each still logs and allocates
            self._mesh.process(blank)

    def __enter__(self) -> FaceDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the native graphs."""
        self._detector.close()
        self._mesh.close()

    def detect(self, rgb: U8) -> list[Face]:
        """Return the faces of an RGB frame (H, W, 3) uint8, left to right."""
        return self.detect_in(RgbPicture(rgb))

    def detect_in(self, picture: Picture) -> list[Face]:
        """Return the faces of a picture, left to right."""
        faces = self._search(picture, [(0, 0, picture.width, picture.height)])
        if not faces and max(picture.width, picture.height) > MIN_TILED_PX:
            faces = self._search(picture, _tiles(picture.width, picture.height))
        return sorted(faces, key=lambda face: float(face.center[0]))

    def _search(self, picture: Picture, parts: list[tuple[int, int, int, int]]) -> list[Face]:
        faces: list[Face] = []
        for left, top, full_width, full_height in parts:
            factor = _overview_factor(full_width, full_height)
            overview = picture.overview(left, top, full_width, full_height, factor)
            width, height = overview.shape[1] * factor, overview.shape[0] * factor  # a remainder may be cut off
            for detection in self._detector.process(np.ascontiguousarray(overview)).detections or []:
                box = detection.location_data.relative_bounding_box
                center = (left + (box.xmin + box.width / 2) * width, top + (box.ymin + box.height / 2) * height)
                side = max(box.width * width, box.height * height) * SQUARE_FACTOR
                face = self.fit_mesh(picture, center, side, float(detection.score[0]))
                if face is not None and all(_overlap(face, other) < SAME_FACE_IOU for other in faces):
                    faces.append(face)
        return faces

    def fit_mesh(self, picture: Picture, center: tuple[float, float], side: float, score: float) -> Face | None:
        """Return the face nearest to the middle of the square around a point, or None where the mesh sees none.

        center in pixels of the picture, side in the same; score is what the caller knows of the face.
        """
        transform = square_transform(center, side, MESH_PX)
        with contextlib.nullcontext() if self._warm else _quiet_native_logs():  # the first mesh logs once more
            found = self._mesh.process(picture.square(transform)).multi_face_landmarks or []
        meshes = [np.array([(p.x, p.y) for p in one.landmark], np.float64) for one in found]
        if not meshes:
            return None
        self._warm = True
        mesh = min(meshes, key=lambda points: float(np.hypot(*(points.mean(axis=0) - 0.5))))
        return Face(transform.invert(mesh * MESH_PX).astype(np.float32), score)


_idle: list[FaceDetector] = []


@contextlib.contextmanager
def borrow_detector() -> Iterator[FaceDetector]:
    """Lend a detector to one user at a time; it is kept for the next, as making one takes half a second."""
    try:
        detector = _idle.pop()
    except IndexError:
        detector = FaceDetector()
    try:
        yield detector
    except BaseException:
        detector.close()  # one that was in use when something failed is not trusted again
        raise
    _idle.append(detector)


def _overview_factor(width: int, height: int) -> int:
    """Return by how much to shrink a picture for the detector: 1 or an even number, so that chroma divides too."""
    long_px = max(width, height)
    return 1 if long_px <= OVERVIEW_PX else 2 * -(-long_px // (2 * OVERVIEW_PX))


def _tiles(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Cover the picture with at most MAX_TILES overlapping tiles: left, top, width, height, all even."""
    side = TILE_PX
    while True:
        step = side - side // 4
        columns, rows = (max(1, -(-(length - side // 4) // step)) for length in (width, height))
        if columns * rows <= MAX_TILES:
            break
        side = side * 5 // 4
    tile_width, tile_height = min(side, width) // 2 * 2, min(side, height) // 2 * 2
    lefts = [(width - tile_width) * i // max(1, columns - 1) // 2 * 2 for i in range(columns)]
    tops = [(height - tile_height) * i // max(1, rows - 1) // 2 * 2 for i in range(rows)]
    return [(left, top, tile_width, tile_height) for top in tops for left in lefts]


def _overlap(a: Face, b: Face) -> float:
    """Return the intersection over union of two boxes."""
    first, second = a.box, b.box
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return shared / (areas - shared)


_log_lock = threading.Lock()


@contextlib.contextmanager
def _quiet_native_logs() -> Iterator[None]:
    """Send what native libraries write to file descriptor 2 to nowhere; they offer no switch for it."""
    with _log_lock:
        sys.stderr.flush()
        kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(nowhere)
            os.close(kept)
