"""Find faces: a full-range detector on the whole frame, then a face mesh on a square around each detection.

Calls are independent (no tracking state), so any range of frames gives the same faces as the whole clip. The mesh alone
misses small faces, and the short-range detector misses most street scenes; the full-range detector finds both. If it
finds nothing in a large frame, overlapping tiles are searched. Only this module uses mediapipe.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from model.arrays import F32, U8, Floats
from model.face_points import CHIN, FOREHEAD, LEFT_CORNER, LOWER_LIP, RIGHT_CORNER, UPPER_LIP
from worker.faces.crop import square_transform
from worker.faces.frame_view import FrameView, RgbView
from worker.faces.pattern import pattern_of
from worker.faces.placed_mesh import PlacedMesh

OVERVIEW_PX: Final = 400  # longest side of the frame given to the detector, which reduces it to 192 px
MESH_PX: Final = 256  # side of the square given to the mesh, which reduces it to 192 px
SQUARE_FACTOR: Final = 2.0  # side of that square in sides of the detection box, which spans brows to lips
MIN_SCORE: Final = 0.5
MIN_TILED_PX: Final = 720  # tiles are searched only in frames with a longer side than this
TILE_PX: Final = 640
MAX_TILES: Final = 8
SAME_FACE_IOU: Final = 0.4


@dataclass(frozen=True)
class Face:
    """Face found in a frame.

    landmarks: points of the mesh (468, 2) float32 in frame pixels. score: the detector's score 0..1. depths: distance
    of each point behind the plane of the picture (468,) float32, in frame pixels, greater for points farther away.
    pattern: by which people are told apart (`worker.faces.pattern`); None if the face is too dark.
    """

    landmarks: F32
    score: float
    depths: F32
    pattern: F32 | None = None

    @property
    def height_px(self) -> float:
        """Return the distance from forehead to chin in pixels."""
        return face_height(self.landmarks)

    @property
    def center(self) -> F32:
        """Return the centre of the box, (2,) float32."""
        left, top, right, bottom = self.box
        return np.array([(left + right) / 2, (top + bottom) / 2], np.float32)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of the landmarks in pixels."""
        low, high = self.landmarks.min(axis=0), self.landmarks.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def face_height(landmarks: F32) -> float:
    """Return the distance from forehead to chin of landmarks (468, 2), in their unit."""
    return float(np.hypot(*(landmarks[CHIN] - landmarks[FOREHEAD])))


def mouth_size(landmarks: Floats) -> tuple[float, float]:
    """Return lip aperture and mouth width of landmarks (468, 2), in their unit."""
    gap = landmarks[LOWER_LIP] - landmarks[UPPER_LIP]
    across = landmarks[RIGHT_CORNER] - landmarks[LEFT_CORNER]
    return float(np.hypot(*gap)), float(np.hypot(*across))


class FaceDetector:
    """Detector of faces and their meshes in single frames, for one thread at a time.

    Its native graphs exist between `open` and `close`; as a context manager it opens and closes itself. Another thread
    may use `placed_mesh` at the same time.
    """

    placed_mesh: PlacedMesh

    def __init__(self) -> None:
        self._is_warm = False
        self._detector: Any = None  # mediapipe has no types
        self._mesh: Any = None

    def open(self) -> None:
        """Load the native graphs."""
        with _quiet_native_logs():
            from mediapipe.python.solutions import face_detection, face_mesh

            self._detector = face_detection.FaceDetection(model_selection=1, min_detection_confidence=MIN_SCORE)
            self._mesh = face_mesh.FaceMesh(static_image_mode=True, max_num_faces=2, min_detection_confidence=0.3)
            blank = np.zeros((MESH_PX, MESH_PX, 3), np.uint8)
            self._detector.process(blank)  # the first call of each graph still logs and allocates
            self._mesh.process(blank)
            self.placed_mesh = PlacedMesh()

    def __enter__(self) -> FaceDetector:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the native graphs."""
        self._detector.close()
        self._mesh.close()
        self.placed_mesh.close()

    def detect(self, rgb: U8) -> list[Face]:
        """Return the faces of an RGB frame (H, W, 3) uint8, from left to right."""
        return self.detect_in(RgbView(rgb))

    def detect_in(self, view: FrameView) -> list[Face]:
        """Return the faces of a frame, from left to right."""
        faces = self._search(view, [(0, 0, view.width, view.height)])
        if not faces and max(view.width, view.height) > MIN_TILED_PX:
            faces = self._search(view, _tiles(view.width, view.height))
        return sorted(faces, key=lambda face: float(face.center[0]))

    def _search(self, view: FrameView, parts: list[tuple[int, int, int, int]]) -> list[Face]:
        """Return the faces in parts of a frame, given as left, top, width and height in pixels."""
        faces: list[Face] = []
        for left, top, full_width, full_height in parts:
            factor = _overview_factor(full_width, full_height)
            overview = view.overview(left, top, full_width, full_height, factor)
            # The division by the factor may have cut off a remainder.
            width, height = overview.shape[1] * factor, overview.shape[0] * factor
            for detection in self._detector.process(np.ascontiguousarray(overview)).detections or []:
                box = detection.location_data.relative_bounding_box
                center = (left + (box.xmin + box.width / 2) * width, top + (box.ymin + box.height / 2) * height)
                side = max(box.width * width, box.height * height) * SQUARE_FACTOR
                face = self.fit_mesh(view, center, side, float(detection.score[0]))
                if face is not None and all(_overlap(face, other) < SAME_FACE_IOU for other in faces):
                    faces.append(face)
        return faces

    def fit_mesh(self, view: FrameView, center: tuple[float, float], side: float, score: float) -> Face | None:
        """Return the face nearest to the centre of a square, or None if the mesh finds no face there.

        center: x, y of the square in frame pixels; side: its side in frame pixels; score: the score that the returned
        face gets.
        """
        transform = square_transform(center, side, MESH_PX)
        square = view.square(transform)
        # The first mesh that is found writes to the log once more.
        with contextlib.nullcontext() if self._is_warm else _quiet_native_logs():
            found = self._mesh.process(square).multi_face_landmarks or []
        meshes = [np.array([(p.x, p.y, p.z) for p in one.landmark], np.float64) for one in found]
        if not meshes:
            return None
        self._is_warm = True
        mesh = min(meshes, key=lambda points: float(np.hypot(*(points[:, :2].mean(axis=0) - 0.5))))
        depths = mesh[:, 2] * (MESH_PX / transform.scale)  # the mesh gives depth in the scale of x
        points = mesh[:, :2] * MESH_PX
        pattern = pattern_of(square, points)
        return Face(transform.invert(points).astype(np.float32), score, depths.astype(np.float32), pattern)


class DetectorPool:
    """Open detectors of a process, each lent to one user at a time; opening a detector takes half a second.

    As a context manager it closes the idle detectors at the end.
    """

    def __init__(self) -> None:
        self._idle: list[FaceDetector] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            self._idle.pop().close()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[FaceDetector]:
        """Lend an idle detector, or open a new one; it becomes idle again, unless an error ends its use."""
        try:
            detector = self._idle.pop()
        except IndexError:
            detector = FaceDetector()
            detector.open()
        try:
            yield detector
        except BaseException:
            detector.close()  # its state after an error is not known
            raise
        self._idle.append(detector)


def _overview_factor(width: int, height: int) -> int:
    """Return the factor that reduces a frame for the detector: 1, or even so that it divides the chroma too."""
    long_px = max(width, height)
    return 1 if long_px <= OVERVIEW_PX else 2 * -(-long_px // (2 * OVERVIEW_PX))


def _tiles(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Cover a frame with at most MAX_TILES overlapping tiles: left, top, width and height in pixels, all even."""
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
    """Return the intersection over union of the boxes of two faces."""
    first, second = a.box, b.box
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return shared / (areas - shared)


_log_lock = threading.Lock()  # file descriptor 2 belongs to the whole process


@contextlib.contextmanager
def _quiet_native_logs() -> Iterator[None]:
    """Discard everything that native libraries write to file descriptor 2; they have no option to be quiet."""
    with _log_lock:
        sys.stderr.flush()
        original = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(original, 2)
            os.close(null)
            os.close(original)
