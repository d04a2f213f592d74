"""Find faces: a full-range detector on the whole frame, then a face mesh on a square around each detection.

Calls are independent (no tracking state), so any range of frames gives the same faces as the whole clip. The mesh alone
misses small faces, and the short-range detector misses most street scenes; the full-range detector finds both. If it
finds nothing in a large frame, overlapping tiles are searched.

Both networks know upright faces. They miss lying faces, and lay the mesh on a face upside down the wrong way up. So if
nothing is found, the frame is searched again in quarter turns. Detector and mesh look for the same eyes, nose and
mouth: where they disagree, or where the detector is unsure, the place is looked at again in quarter turns, and the best
agreement counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import Final, Self

import numpy as np

from model.arrays import F32, F64, U8, Floats
from model.face_points import (
    CHIN,
    EYE_CORNERS,
    FOREHEAD,
    LEFT_CORNER,
    LOWER_LIP,
    NOSE_TIP,
    RIGHT_CORNER,
    UPPER_LIP,
)
from worker.faces.crop import RIGID, Transform, fit_similarity, square_transform
from worker.faces.frame_part import FramePart, square_part, tiles, whole_frame
from worker.faces.frame_view import FrameView, RgbView
from worker.faces.native_graph import Detection, FullRangeDetector, MeshFinder, MeshFitter, quiet_native_logs
from worker.faces.pattern import SAME, difference, pattern_of
from worker.faces.placed_mesh import SQUARE_PX, PlacedMesh

MESH_PX: Final = 256  # side of the square given to the mesh, which reduces it to 192 px
SQUARE_FACTOR: Final = 2.0  # side of that square in sides of the detection box, which spans brows to lips
MIN_SCORE: Final = 0.6
MIN_MESH_SCORE: Final = 0.3  # of the short-range detector, which looks for the face in that square
MIN_TILED_PX: Final = 720  # tiles are searched only in frames with a longer side than this
SAME_FACE_IOU: Final = 0.4
# Points of the mesh at the detector's first four points: the middle of each eye, the tip of the nose, the mouth.
DETECTED_POINTS: Final = np.array([EYE_CORNERS[:2], EYE_CORNERS[2:], (NOSE_TIP, NOSE_TIP), (UPPER_LIP, LOWER_LIP)])
MISMATCH_COST: Final = 3.0  # trust lost for each face height between a point of the detector and the mesh
SURE: Final = 0.6  # trust from which on a face is not looked at again: all but one in a thousand wrong meshes have less
LEAST_TURNED: Final = 0.55  # least trust of a face that is found only in a turned picture
CLEARLY: Final = 0.2  # trust by which a turned face must exceed the upright one: a mask can be taken for a forehead
AGAIN_FACTOR: Final = 1.5  # side of the square that is looked at again, in sides of the square of the mesh
NET_FACTOR: Final = 1.5  # side of the square that the mesh network sees, in sides of the short-range detector's box
FOLLOWED_FAR: Final = 0.15  # movement from which on a face is not followed but looked for again, in face heights
FOLLOWED_ZOOM: Final = 1.15  # change of its size from which on it is looked for again


@dataclass(frozen=True)
class Face:
    """Face found in a frame.

    landmarks: points of the mesh (468, 2) float32 in frame pixels. score: the detector's score 0..1. depths: distance
    of each point behind the plane of the picture (468,) float32, in frame pixels, greater for points farther away.
    pattern: by which people are told apart (`worker.faces.pattern`); None if the face is too dark. square: what the
    mesh network saw of the frame; None if detector and mesh disagree.
    """

    landmarks: F32
    score: float
    depths: F32
    pattern: F32 | None = None
    square: Transform | None = None

    @cached_property
    def height_px(self) -> float:
        """Return the distance from forehead to chin in pixels."""
        return face_height(self.landmarks)

    @cached_property
    def center(self) -> F32:
        """Return the centre of the box, (2,) float32."""
        left, top, right, bottom = self.box
        return np.array([(left + right) / 2, (top + bottom) / 2], np.float32)

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of the landmarks in pixels."""
        low, high = self.landmarks.min(axis=0), self.landmarks.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def face_height(landmarks: Floats) -> float:
    """Return the distance from forehead to chin of landmarks (468, 2), in their unit."""
    return float(np.hypot(*(landmarks[CHIN] - landmarks[FOREHEAD])))


def mouth_size(landmarks: Floats) -> tuple[float, float]:
    """Return lip aperture and mouth width of landmarks (468, 2), in their unit."""
    gap = landmarks[LOWER_LIP] - landmarks[UPPER_LIP]
    across = landmarks[RIGHT_CORNER] - landmarks[LEFT_CORNER]
    return float(np.hypot(*gap)), float(np.hypot(*across))


@dataclass(frozen=True)
class _Sighting:
    """Detection in a part of a frame.

    face: its mesh, None if there is none. trust: score of the detector, less what its points disagree with the mesh.
    center, side: the square given to the mesh, in frame pixels.
    """

    face: Face | None
    trust: float
    center: tuple[float, float]
    side: float


class FaceDetector:
    """Detector of faces and their meshes in single frames.

    Its native graphs exist between `open` and `close`; as a context manager it opens and closes itself. Each graph
    serves one thread at a time. So with two threads, one frame is searched while the mesh of another one is fitted.
    """

    placed_mesh: PlacedMesh
    _detector: FullRangeDetector
    _mesh: MeshFinder
    _follower: MeshFitter
    _is_warm = False

    def open(self) -> None:
        """Load the native graphs."""
        with quiet_native_logs():
            self._detector = FullRangeDetector(MIN_SCORE)
            self._mesh = MeshFinder(MIN_MESH_SCORE)
            blank = np.zeros((MESH_PX, MESH_PX, 3), np.uint8)
            self._detector.find(blank)  # the first call of each graph still logs and allocates
            self._mesh.find(blank)
            self._follower = MeshFitter()
            self._follower.fit(np.zeros((SQUARE_PX, SQUARE_PX, 3), np.uint8))
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
        self._follower.close()
        self.placed_mesh.close()

    def detect(self, rgb: U8) -> list[Face]:
        """Return the faces of an RGB frame (H, W, 3) uint8, from left to right."""
        return self.detect_in(RgbView(rgb))

    def detect_in(self, view: FrameView) -> list[Face]:
        """Return the faces of a frame, from left to right."""
        faces = self.glance(view)
        if not faces and max(view.width, view.height) > MIN_TILED_PX:
            faces = self._search(view, tiles(view))
        if not faces:
            faces = self._search_turned(view)
        return sorted(faces, key=lambda face: float(face.center[0]))

    def glance(self, view: FrameView) -> list[Face]:
        """Return the upright faces that are large enough to be seen in one look at a frame."""
        return self._search(view, [whole_frame(view)])

    def _search(self, view: FrameView, parts: list[FramePart]) -> list[Face]:
        """Return the faces in parts of a frame."""
        faces: list[Face] = []
        for part in parts:
            for seen in self._look(view, part):
                face = seen.face if seen.trust >= SURE else self._look_again(view, seen)
                if face is not None:
                    _add_new(faces, face)
        return faces

    def _search_turned(self, view: FrameView) -> list[Face]:
        """Return the faces that are seen only when the frame is turned."""
        seen = [one for turns in (1, 2, 3) for one in self._look(view, whole_frame(view, turns))]
        faces: list[Face] = []
        for one in sorted(seen, key=lambda one: -one.trust):
            if one.face is not None and one.trust >= LEAST_TURNED:
                _add_new(faces, one.face)
        return faces

    def _look_again(self, view: FrameView, doubtful: _Sighting) -> Face | None:
        """Return the face of a sighting, or the one that is clearly trusted more when its place is turned."""
        best, upright = None, doubtful.trust
        for turns in range(4):
            part = square_part(view, doubtful.center, AGAIN_FACTOR * doubtful.side, turns)
            for seen in self._look(view, part):
                apart = np.hypot(*np.subtract(seen.center, doubtful.center))
                if seen.face is None or apart >= doubtful.side / SQUARE_FACTOR:
                    continue
                if turns == 0:
                    upright = max(upright, seen.trust)
                elif seen.trust > max(upright + CLEARLY, 0.0 if best is None else best.trust):
                    best = seen
            if upright >= SURE:
                break
        return doubtful.face if best is None else best.face

    def _look(self, view: FrameView, part: FramePart) -> Iterator[_Sighting]:
        """Yield what the detector sees in a part of a frame, with the mesh of each face."""
        picture = part.picture(view)
        lengths = part.length_px(picture)
        for seen in self._detector.find(picture):
            center, *detected = part.to_frame(np.array([seen.center, *seen.points]) * lengths, picture)
            place = float(center[0]), float(center[1])
            side = max(np.multiply(seen.size, lengths)) * SQUARE_FACTOR
            face = self.fit_mesh(view, place, side, seen.score, part.turns)
            trust = 0.0
            if face is not None:
                trust = seen.score - MISMATCH_COST * _mismatch(face.landmarks, np.array(detected))
                face = face if trust >= SURE else replace(face, square=None)
            yield _Sighting(face, trust, place, side)

    def fit_mesh(
        self, view: FrameView, center: tuple[float, float], side: float, score: float, turns: int = 0
    ) -> Face | None:
        """Return the face nearest to the centre of a square, or None if the mesh finds no face there.

        center: x, y of the square in frame pixels; side: its side in frame pixels; score: the score that the returned
        face gets; turns: quarter turns to the left that the square is turned by.
        """
        transform = square_transform(center, side, MESH_PX, turns)
        picture = view.square(transform)
        # The first mesh that is found writes to the log once more.
        with contextlib.nullcontext() if self._is_warm else quiet_native_logs():
            meshes, detections = self._mesh.find(picture)
        if not meshes:
            return None
        self._is_warm = True
        mesh = min(meshes, key=lambda points: float(np.hypot(*(points[:, :2].mean(axis=0) - 0.5))))
        seen = min(detections, key=lambda one: _mismatch(mesh[:, :2], one.points))
        square = Transform(_joined(transform.matrix, _seen_by_mesh(seen).matrix), SQUARE_PX)
        return replace(_face(mesh, picture, transform, score), square=square)

    def follow(self, view: FrameView, face: Face) -> Face | None:
        """Return a face of a frame shortly before, where it is in this frame; None if it has to be looked for again.

        Nothing is detected: the mesh network sees the place that it saw before. None unless the face was sure, has
        hardly moved and looks the same.
        """
        if face.square is None or face.pattern is None:
            return None
        picture = view.square(face.square)
        mesh = self._follower.fit(picture)
        if mesh is None:
            return None
        found = _face(mesh, picture, face.square, face.score)
        before, after = (one.landmarks[list(RIGID)].astype(np.float64) for one in (face, found))
        back = fit_similarity(after, before)
        zoom, moved = float(np.hypot(*back[:, 0])), np.hypot(*(after.mean(axis=0) - before.mean(axis=0)))
        if moved > FOLLOWED_FAR * face.height_px or not 1 / FOLLOWED_ZOOM < zoom < FOLLOWED_ZOOM:
            return None
        if found.pattern is None or difference(found.pattern, [face.pattern]) > SAME:
            return None
        return replace(found, square=Transform(_joined(back, face.square.matrix), face.square.size))


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


def _face(mesh: F64, picture: U8, transform: Transform, score: float) -> Face:
    """Return the face of a mesh (468, 3) in sides of a square picture, which a transform cut out of a frame."""
    size = transform.size
    points = mesh[:, :2] * size
    depths = mesh[:, 2] * (size / transform.scale)  # the mesh gives depth in the scale of x
    landmarks = transform.invert(points).astype(np.float32)
    return Face(landmarks, score, depths.astype(np.float32), pattern_of(picture, points))


def _seen_by_mesh(seen: Detection) -> Transform:
    """Return the transform from the square of the mesh to what its network sees: its box, turned to level eyes."""
    first, second = seen.points[:2]
    angle = np.arctan2(*(second - first)[::-1])
    zoom = SQUARE_PX / (NET_FACTOR * max(seen.size) * MESH_PX)
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    shift = SQUARE_PX / 2 - linear @ (np.array(seen.center) * MESH_PX)
    return Transform(np.concatenate([linear, shift[:, None]], axis=1), SQUARE_PX)


def _joined(first: F64, then: F64) -> F64:
    """Return the affine map (2, 3) that is one map and then another one."""
    return np.concatenate([then[:, :2] @ first[:, :2], (then[:, :2] @ first[:, 2] + then[:, 2])[:, None]], axis=1)


def _mismatch(landmarks: Floats, detected: F64) -> float:
    """Return the largest distance of the detector's points (4, 2) from a mesh (468, 2), in face heights."""
    off = detected - landmarks[DETECTED_POINTS].mean(axis=1)
    return float(np.hypot(off[:, 0], off[:, 1]).max()) / max(face_height(landmarks), 1e-6)


def _add_new(faces: list[Face], face: Face) -> None:
    """Add a face to others, unless it is one of them."""
    if all(_overlap(face, other) < SAME_FACE_IOU for other in faces):
        faces.append(face)


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
