"""Cut a stream of frames into takes: never across a cut, never longer than fits into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from model.arrays import U8
from worker.faces.track import is_cut, thumbnail

LONGEST_FRAMES: Final = 500  # 20 s
SHORTEST_FRAMES: Final = 25
TAKE_BYTES: Final = 512 * 1024**2  # 170 frames of 1080p


@dataclass(frozen=True)
class Take:
    """Frames (H * 3/2, W) uint8 that follow each other in one shot, the first with this number in the film."""

    first: int
    frames: list[U8]


def takes(frames: Iterable[U8], longest: int = LONGEST_FRAMES, most_bytes: int = TAKE_BYTES) -> Iterator[Take]:
    """Yield the takes of a film; what is too short to learn from is left out."""
    pending: list[U8] = []
    first, before = 0, None
    for index, planes in enumerate(frames):
        now = thumbnail(planes)
        full = len(pending) >= min(longest, max(SHORTEST_FRAMES, most_bytes // planes.nbytes))
        if pending and (full or (before is not None and is_cut(before, now))):
            if len(pending) >= SHORTEST_FRAMES:
                yield Take(first, pending)
            pending, first = [], index
        pending.append(planes)
        before = now
    if len(pending) >= SHORTEST_FRAMES:
        yield Take(first, pending)
