"""Divide a stream of frames into shots, which never cross a cut and always fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from model.arrays import U8
from worker.faces.cuts import is_cut, thumbnail

LONGEST_FRAMES: Final = 500  # 20 s
SHORTEST_FRAMES: Final = 25
SHOT_BYTES: Final = 512 * 1024**2  # 170 frames of 1080p


@dataclass(frozen=True)
class Shot:
    """Successive frames without a cut, (H * 3/2, W) uint8 I420 each; `first` is the number of the first in the film."""

    first: int
    frames: list[U8]


def split_shots(frames: Iterable[U8], longest: int = LONGEST_FRAMES, most_bytes: int = SHOT_BYTES) -> Iterator[Shot]:
    """Yield the shots of a film; a shot that is too long is divided, and one that is too short to train on is dropped.

    longest: most frames of a shot. most_bytes: most bytes of its frames, at least those of SHORTEST_FRAMES.
    """
    pending: list[U8] = []
    first, before = 0, None
    for index, planes in enumerate(frames):
        now = thumbnail(planes)
        is_full = len(pending) >= min(longest, max(SHORTEST_FRAMES, most_bytes // planes.nbytes))
        if pending and (is_full or (before is not None and is_cut(before, now))):
            if len(pending) >= SHORTEST_FRAMES:
                yield Shot(first, pending)
            pending, first = [], index
        pending.append(planes)
        before = now
    if len(pending) >= SHORTEST_FRAMES:
        yield Shot(first, pending)
