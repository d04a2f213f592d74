"""Tracked faces of a film, kept from job to job.

Tracking is local in time, so the faces of a frame depend only on the film and on the rule that picks them. A range of
frames whose faces are all known is not tracked again: nothing looks at its pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from app.core.storage.cache import Entry
from model.arrays import F32
from worker.faces.kept_blocks import Form, KeptBlocks
from worker.faces.subject import Chooser
from worker.faces.track import TrackedFrame

MOST_BLOCKS: Final = 3  # in memory, of 1 MB each if one face is tracked
LANDMARKS: Final = (468, 2)


@dataclass(frozen=True)
class KeptFaces:
    """Chosen faces of a frame, and the marks of its `TrackedFrame`."""

    faces: tuple[F32, ...]
    small: bool
    is_sure: bool


class KeptTrack:
    """Tracked faces of one film that one rule picks, in blocks of frames."""

    def __init__(self, blocks: KeptBlocks[KeptFaces]) -> None:
        self._blocks = blocks

    def known(self, first: int, last: int) -> list[KeptFaces] | None:
        """Return the faces of the frames [first, last); None unless all of them are known."""
        found: list[KeptFaces] = []
        for number in range(first, last):
            faces = self._blocks.get(number, str(number))
            if faces is None:
                return None
            found.append(faces)
        return found

    def add(self, frame: TrackedFrame) -> None:
        """Keep the faces of a frame."""
        self._blocks.add(frame.index, str(frame.index), KeptFaces(tuple(frame.faces), frame.small, frame.is_sure))


class KeptTracks:
    """Tracked faces of one film by the rule that picks them; a context manager, which keeps what is new at its end.

    entry_of(rule, block): the place of a block of frames for a rule, given as a text that tells all of it.
    """

    def __init__(self, entry_of: Callable[[str, int], Entry]) -> None:
        self._entry_of = entry_of
        self._tracks: dict[str, KeptTrack] = {}
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def of(self, chooser: Chooser) -> KeptTrack:
        """Return the tracked faces that a rule picks."""
        rule = json.dumps(chooser.facts())
        if rule not in self._tracks:
            blocks = KeptBlocks(lambda block: self._entry_of(rule, block), TRACKED, MOST_BLOCKS)
            self._tracks[rule] = KeptTrack(self._opened.enter_context(blocks))
        return self._tracks[rule]


def _to_arrays(frames: Mapping[str, KeptFaces]) -> dict[str, Any]:
    faces = [face for frame in frames.values() for face in frame.faces]
    return {
        "numbers": np.array([int(number) for number in frames], np.int64),
        "counts": np.array([len(frame.faces) for frame in frames.values()], np.int64),
        "small": np.array([frame.small for frame in frames.values()], bool),
        "sure": np.array([frame.is_sure for frame in frames.values()], bool),
        "landmarks": np.array(faces, np.float32).reshape(-1, *LANDMARKS),
    }


def _of_arrays(arrays: Mapping[str, Any]) -> dict[str, KeptFaces]:
    landmarks, ends = arrays["landmarks"], np.cumsum(arrays["counts"]).tolist()
    if ends and ends[-1] != len(landmarks):
        raise ValueError("the number of faces does not fit the frames")
    found = {}
    for number, end, count, small, is_sure in zip(
        arrays["numbers"], ends, arrays["counts"], arrays["small"], arrays["sure"], strict=True
    ):
        found[str(number)] = KeptFaces(tuple(landmarks[end - count : end]), bool(small), bool(is_sure))
    return found


TRACKED: Final = Form(_to_arrays, _of_arrays)
