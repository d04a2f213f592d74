"""The port of face detectors: what tracking asks of them."""

from __future__ import annotations

from typing import Protocol

from worker.faces.detect import Face
from worker.faces.frame_view import PlanesView


class FaceFinder(Protocol):
    """Detector of faces in frames; see `worker.faces.detect.FaceDetector`."""

    def detect_in(self, view: PlanesView) -> list[Face]:
        """Return the faces of a frame, from left to right."""

    def glance(self, view: PlanesView) -> list[Face]:
        """Return the upright faces that are large enough to be seen in one look at a frame."""

    def follow(self, view: PlanesView, face: Face) -> Face | None:
        """Return a face of a frame shortly before, where it is in this frame; None if it has to be looked for again."""
