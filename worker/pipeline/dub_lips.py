"""How well the drawn lips of each dub fit its voice (`worker.pipeline.sync_confidence`)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from model.arrays import U8
from worker.faces.placed_mesh import PlacedMesh
from worker.media.colour import ColourMatrix
from worker.pipeline.dubs import Dub
from worker.pipeline.face_stats import ClipStats
from worker.pipeline.sync_confidence import LipReader, LipShapes, sync_confidence
from worker.pipeline.synthesis import OutputFrame


class DubLipReader:
    """Reader of the lips of all dubs whose lips are compared with their voices."""

    def __init__(self, dubs: Sequence[Dub], mesh: PlacedMesh, colour: ColourMatrix) -> None:
        self._readers = {
            number: LipReader(dub.looked_at.frames, mesh, colour, dub.chooser)
            for number, dub in enumerate(dubs)
            if dub.looked_at is not None and dub.options.strength == 1.0  # lips that shall move less fit the voice less
        }
        self._count = len(dubs)

    @property
    def shapes(self) -> list[LipShapes]:
        """Return the shapes that were read for each dub, by number of the output frame."""
        return [self._readers[number].shapes if number in self._readers else {} for number in range(self._count)]

    def read(self, frame: OutputFrame, planes: U8) -> None:
        """Read the lips of a finished frame, (H * 3/2, W) uint8 I420."""
        for number, tracked in frame.found.items():
            if number in self._readers:
                self._readers[number].read(frame.number, planes, tracked.faces)


def dub_confidences(dubs: Sequence[Dub], stats: ClipStats, rate: Fraction) -> list[float | None]:
    """Return how well the lips of each dub fit its voice, 0..1; None if it was not or could not be looked at."""
    return [
        None if dub.looked_at is None else sync_confidence(found.lip_shapes, dub.looked_at, rate)
        for dub, found in zip(dubs, stats.dubs, strict=True)
    ]
