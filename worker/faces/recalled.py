"""A detector that remembers, from job to job, what it found in the numbered frames of one film.

Detection only depends on the pixels of a frame, and on the face that is followed. So the answer to the same question
about the same frame of the same film is taken from the cache, bit by bit as it was, whatever the job does with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import numpy as np

from app.core.storage.cache import Entry
from worker.faces.crop import Transform
from worker.faces.detect import Face
from worker.faces.face_finder import FaceFinder
from worker.faces.frame_view import PlanesView
from worker.faces.kept_blocks import Form, KeptBlocks

MOST_BLOCKS: Final = 3  # in memory: a clip that is played back and forth goes from block to block


class RecallingDetector:
    """Detector that asks the cache first; a context manager, which adds what is new to the cache at its end.

    entry_of(block): the place of a block of frames, as `KeptBlocks` takes it. Views without a number are not
    remembered.
    """

    def __init__(self, detector: FaceFinder, entry_of: Callable[[int], Entry]) -> None:
        self._detector = detector
        self._answers = KeptBlocks(entry_of, Form(_to_arrays, _of_arrays), MOST_BLOCKS)

    def __enter__(self) -> RecallingDetector:
        self._answers.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answers.__exit__(kind, error, trace)

    def detect_in(self, view: PlanesView) -> list[Face]:
        """Return the faces of a frame, from left to right."""
        return self._answer(view, "detect", lambda: self._detector.detect_in(view))

    def glance(self, view: PlanesView) -> list[Face]:
        """Return the upright faces that are large enough to be seen in one look at a frame."""
        return self._answer(view, "glance", lambda: self._detector.glance(view))

    def follow(self, view: PlanesView, face: Face) -> Face | None:
        """Return a face of a frame shortly before, where it is in this frame; None if it has to be looked for again."""

        def found() -> list[Face]:
            followed = self._detector.follow(view, face)
            return [] if followed is None else [followed]

        return next(iter(self._answer(view, f"follow {_digest(face)}", found)), None)

    def _answer(self, view: PlanesView, question: str, ask: Callable[[], list[Face]]) -> list[Face]:
        if view.number is None:
            return ask()
        name = f"{view.number} {question}"
        answer = self._answers.get(view.number, name)
        if answer is None:
            answer = ask()
            self._answers.add(view.number, name, answer)
        return list(answer)


def _of_arrays(arrays: Mapping[str, Any]) -> dict[str, list[Face]]:
    """Return the answers of a block by question."""
    faces, questions = faces_of_arrays(arrays), json.loads(str(arrays["questions"]))
    return {question: [faces[at] for at in places] for question, places in questions.items()}


def _to_arrays(answers: Mapping[str, list[Face]]) -> dict[str, Any]:
    faces: list[Face] = []
    places: dict[str, list[int]] = {}
    for question, found in answers.items():
        places[question] = list(range(len(faces), len(faces) + len(found)))
        faces += found
    return {"questions": np.array(json.dumps(places)), **arrays_of_faces(faces)}


def arrays_of_faces(faces: Sequence[Face]) -> dict[str, Any]:
    """Return faces as arrays, one row a face, for a file."""
    patterns = [face.pattern for face in faces]
    squares = [face.square for face in faces]
    blank = np.zeros(next((pattern.shape for pattern in patterns if pattern is not None), (0,)), np.float32)
    return {
        "landmarks": np.array([face.landmarks for face in faces], np.float32),
        "scores": np.array([face.score for face in faces], np.float64),
        "depths": np.array([face.depths for face in faces], np.float32),
        "patterns": np.array([blank if one is None else one for one in patterns], np.float32),
        "patterned": np.array([one is not None for one in patterns], bool),
        "squares": np.array([np.zeros((2, 3)) if one is None else one.matrix for one in squares], np.float64),
        "sizes": np.array([0 if one is None else one.size for one in squares], np.int64),  # 0: no square
    }


def faces_of_arrays(arrays: Mapping[str, Any]) -> list[Face]:
    """Return the faces that `arrays_of_faces` saved."""
    names = ("landmarks", "scores", "depths", "patterns", "patterned", "squares", "sizes")
    faces = []
    for landmarks, score, depths, pattern, is_patterned, matrix, size in zip(
        *(arrays[name] for name in names), strict=True
    ):
        square = Transform(matrix, int(size)) if size else None
        faces.append(Face(landmarks, float(score), depths, pattern if is_patterned else None, square))
    return faces


def _digest(face: Face) -> str:
    """Return a hash of everything in a face."""
    matrix, size = (None, 0) if face.square is None else (face.square.matrix, face.square.size)
    digest = hashlib.sha256(repr((float(face.score), int(size))).encode())
    for array in (face.landmarks, face.depths, face.pattern, matrix):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]
