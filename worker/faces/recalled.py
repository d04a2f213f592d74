"""A detector that remembers, from job to job, what it found in the numbered frames of one film.

Detection only depends on the pixels of a frame, and on the face that is followed. So the answer to the same question
about the same frame of the same film is taken from the cache, bit by bit as it was, whatever the job does with it. The
answers are kept in blocks of frame numbers: each segment of a long clip finds and adds its own, on any worker of the
host.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from app.core.storage.cache import Entry
from worker.faces.crop import Transform
from worker.faces.detect import Face
from worker.faces.face_finder import FaceFinder
from worker.faces.frame_view import PlanesView

BLOCK_FRAMES: Final = 256
MOST_BLOCKS: Final = 3  # in memory: a clip that is played back and forth goes from block to block
DAMAGES: Final = (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile)

_Answers = dict[str, list[Face]]
_log = logging.getLogger("lipsync.cache")


class RecallingDetector:
    """Detector that asks the cache first; a context manager, which adds what is new to the cache at its end.

    entry_of(block): the place of the frames from block * BLOCK_FRAMES on. Views without a number are not remembered.
    """

    def __init__(self, detector: FaceFinder, entry_of: Callable[[int], Entry]) -> None:
        self._detector, self._entry_of = detector, entry_of
        self._blocks: dict[int, _Answers] = {}  # the one that was used last is at the end
        self._new: set[int] = set()  # blocks with answers that are not in the cache

    def __enter__(self) -> RecallingDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            for number in list(self._blocks):
                self._put_away(number)

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
        block, name = view.number // BLOCK_FRAMES, f"{view.number} {question}"
        answers = self._block(block)
        if name not in answers:
            answers[name] = ask()
            self._new.add(block)
        return list(answers[name])

    def _block(self, number: int) -> _Answers:
        """Return the known answers of a block."""
        if number not in self._blocks:
            if len(self._blocks) >= MOST_BLOCKS:
                self._put_away(next(iter(self._blocks)))
            self._blocks[number] = _read(self._entry_of(number))
        self._blocks[number] = self._blocks.pop(number)
        return self._blocks[number]

    def _put_away(self, number: int) -> None:
        answers = self._blocks.pop(number)
        if number in self._new:
            self._new.remove(number)
            entry = self._entry_of(number)
            answers = _read(entry) | answers  # another segment may have added some meanwhile
            entry.put(lambda path: _write(path, answers))


def _read(entry: Entry) -> _Answers:
    path = entry.get()
    if path is None:
        return {}
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            faces = faces_of_arrays(arrays)
            questions = json.loads(str(arrays["questions"]))
        return {question: [faces[at] for at in places] for question, places in questions.items()}
    except DAMAGES as error:
        _log.warning("faces not read from the cache error=%s", error)
        entry.remove()
        return {}


def _write(path: Path, answers: _Answers) -> None:
    faces: list[Face] = []
    places: dict[str, list[int]] = {}
    for question, found in answers.items():
        places[question] = list(range(len(faces), len(faces) + len(found)))
        faces += found
    with path.open("wb") as file:
        np.savez(file, questions=np.array(json.dumps(places)), **arrays_of_faces(faces))


def arrays_of_faces(faces: Sequence[Face]) -> dict[str, Any]:
    """Return faces as arrays, one row a face, for a file."""
    patterns = [face.pattern for face in faces]
    squares = [face.square for face in faces]
    length = max((len(pattern) for pattern in patterns if pattern is not None), default=0)
    return {
        "landmarks": np.array([face.landmarks for face in faces], np.float32),
        "scores": np.array([face.score for face in faces], np.float64),
        "depths": np.array([face.depths for face in faces], np.float32),
        "patterns": np.array([np.zeros(length) if one is None else one for one in patterns], np.float32),
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
