"""Find the people in a video, so that a client can choose one of them before it submits a job.

People are found and counted as a job does it, in the same frames: `index:N` means the same person in both.
"""

from __future__ import annotations

from pathlib import Path

from app.core.checks import never_stop
from app.core.jobs import JobInput, JobOptions
from app.core.options import voices_end_s
from app.core.probing.probe import find_ffmpeg
from app.core.settings import Settings
from worker.faces.detect import FaceDetector
from worker.faces.people import find_people
from worker.faces.subject import find_sparse_faces
from worker.media.decode import open_source
from worker.media.timeline import plan_timeline
from worker.media.video_codecs import VideoCodecs
from worker.process_share import cores_of

FoundFace = dict[str, float]  # index, x, y, width and height of the box in pixels, score 0..1, time of the frame


def find_faces_in(settings: Settings, video: Path, facts: JobInput, options: JobOptions) -> list[FoundFace]:
    """Return a typical face of each person in the shown part of a video, from left to right; raises InputError."""
    codecs = VideoCodecs(cores=cores_of(settings))
    source = open_source(video, facts.video, find_ffmpeg(settings.ffmpeg), never_stop, codecs=codecs)
    shown = plan_timeline(options, source, voices_end_s(facts, options))
    with FaceDetector() as detector:
        sparse = find_sparse_faces(source, shown, detector, never_stop)
    people = find_people([frame.faces for frame in sparse], [frame.number for frame in sparse])
    found: list[FoundFace] = []
    for index, person in enumerate(people):
        left, top, right, bottom = (round(edge, 1) for edge in person.box)
        box = {"x": left, "y": top, "width": round(right - left, 1), "height": round(bottom - top, 1)}
        at_s = round(float(person.frame / source.rate), 3)
        found.append({"index": index, **box, "score": round(person.score, 3), "at_s": at_s})
    return found
