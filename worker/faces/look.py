"""Find the faces in one frame of a video, so that a client can choose one of them before it submits a job."""

from __future__ import annotations

from pathlib import Path

from app.core.checks import never_stop
from app.core.probing.probe import Limits, find_ffmpeg, probe_video
from app.core.settings import Settings
from worker.faces.detect import FaceDetector
from worker.faces.frame_view import PlanesView
from worker.media.decode import decode, open_source

FoundFace = dict[str, float]  # index, x, y, width and height of the box in pixels, score 0..1


def find_faces_in(settings: Settings, video: Path) -> list[FoundFace]:
    """Return the faces in the middle frame of a video, from left to right; raises InputError."""
    facts = probe_video(video, Limits.of(settings))
    source = open_source(video, facts, find_ffmpeg(settings.ffmpeg), never_stop)
    middle = source.frames // 2
    with FaceDetector() as detector:
        faces = [
            face
            for frame in decode(source, middle, middle + 1, never_stop)
            for face in detector.detect_in(PlanesView(frame, source.colour))
        ]
    found: list[FoundFace] = []
    for index, face in enumerate(faces):
        left, top, right, bottom = (round(edge, 1) for edge in face.box)
        box = {"x": left, "y": top, "width": round(right - left, 1), "height": round(bottom - top, 1)}
        found.append({"index": index, **box, "score": round(face.score, 3)})
    return found
