"""Who is found, counted and followed in clips: by the sparse frames, the chooser and the tracker, without a network."""

from __future__ import annotations

import subprocess
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.errors import ErrorCode, RequestError
from app.core.jobs import JobInput, JobOptions
from app.core.probing.probe import find_ffmpeg, probe_video
from app.core.settings import Settings
from model.arrays import U8
from tests.worker.clips import LIMITS, portrait, sources_of, write_clip, write_voice
from worker.faces.detect import Face, FaceDetector
from worker.faces.frame_view import FrameView
from worker.faces.look import find_faces_in
from worker.faces.subject import LOOK_THREADS, SPARSE_BYTES, Chooser, choose_subject, find_sparse_faces
from worker.faces.track import TrackedFrame, tracked_frames
from worker.media.decode import Source, open_source
from worker.media.stage_timer import StageTimer

ONE_KEY_FRAME = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "999", "-pix_fmt", "yuv420p")


def opened(path: Path) -> Source:
    return open_source(path, probe_video(path, LIMITS), find_ffmpeg(None), never_stop)


def faces_of(source: Source, detector: FaceDetector) -> list[list[Face]]:
    sparse = find_sparse_faces(source, np.arange(source.frames), detector, never_stop)
    return [frame.faces for frame in sparse]


def tracked(source: Source, detector: FaceDetector, chooser: Chooser, first: int = 0) -> list[TrackedFrame]:
    shown = np.arange(first, source.frames)
    return list(tracked_frames(source, shown, detector, chooser, StageTimer(), never_stop))


def follow(source: Source, detector: FaceDetector, choice: str) -> list[TrackedFrame]:
    return tracked(source, detector, choose_subject(choice, faces_of(source, detector)))


def center_x(frame: TrackedFrame) -> float | None:
    return float(frame.faces[0][:, 0].mean()) if frame.faces else None


def other() -> U8:
    """Return somebody else: the portrait with other light and dark parts of the face."""
    rows, columns = np.linspace(-1, 1, 320)[:, None, None], np.linspace(-1, 1, 320)[None, :, None]
    shades = 0.65 + 0.35 * np.sin(9 * rows) * np.cos(10.8 * columns)
    return np.clip(portrait() * shades, 0, 255).astype(np.uint8)


def side_by_side(left: U8, right: U8) -> U8:
    return np.ascontiguousarray(np.concatenate([left, right], axis=1))


@pytest.mark.parametrize(("choice", "dark"), [("index:0", 9), pytest.param("point:165,130", 3, marks=pytest.mark.slow)])
def test_a_face_that_fades_in_is_found(tmp_path: Path, detector: FaceDetector, choice: str, dark: int) -> None:
    def picture(number: int) -> U8:
        return (portrait() * min(1.0, max(0.0, (number - dark) / 3))).astype(np.uint8)

    source = opened(write_clip(tmp_path / "fade.mp4", map(picture, range(14)), "25", *ONE_KEY_FRAME))
    found = [bool(frame.faces) for frame in follow(source, detector, choice)]
    assert all(found[dark + 3 :])


def test_a_person_is_followed_across_a_cut(tmp_path: Path, detector: FaceDetector) -> None:
    first, second = side_by_side(portrait(), other()), side_by_side(other(), portrait())
    source = opened(write_clip(tmp_path / "swap.mp4", [first] * 5 + [second] * 5, "25", *ONE_KEY_FRAME))
    sparse = faces_of(source, detector)
    for choice, sides in (("index:0", (0, 1)), ("index:1", (1, 0))):
        chooser = choose_subject(choice, sparse)
        assert len(chooser.people) == 2
        x = [center_x(frame) for frame in tracked(source, detector, chooser)]
        assert [None if one is None else int(one > 320) for one in x] == [sides[0]] * 5 + [sides[1]] * 5
    assert [center_x(frame) for frame in tracked(source, detector, chooser, 4)] == x[4:]


def test_nobody_else_speaks_when_the_person_is_away(tmp_path: Path, detector: FaceDetector) -> None:
    pictures = [portrait()] * 6 + [other()] * 4
    source = opened(write_clip(tmp_path / "away.mp4", pictures, "25", *ONE_KEY_FRAME))
    assert [bool(frame.faces) for frame in follow(source, detector, "largest")] == [True] * 6 + [False] * 4


FIELD_CASES = [
    ("people_swap_at_cut.mp4", "index:0", [162, 478], 1.0),
    ("people_swap_at_cut.mp4", "largest", [162, 478], 1.0),
    ("index_left_comes_and_goes.mp4", "index:0", [162, 162], 0.2),
    ("index_left_comes_and_goes.mp4", "index:1", [479, 479], 1.0),
    ("fadein_one_keyframe.mp4", "index:0", [202, 202], 0.9),
    ("fadein_one_keyframe.mp4", "point:200,230", [202, 202], 0.9),
    ("fadein_two_people.mp4", "largest", [479, 479], 0.9),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "choice", "ends", "coverage"), FIELD_CASES)
def test_reported_clips(
    shared_dir: Path, detector: FaceDetector, name: str, choice: str, ends: list[int], coverage: float
) -> None:
    source = opened(shared_dir / "field_cases" / name)
    found = [x for frame in follow(source, detector, choice) if (x := center_x(frame)) is not None]
    assert [found[0], found[-1]] == pytest.approx(ends, abs=8)
    assert len(found) >= coverage * source.frames


@pytest.mark.parametrize(("sync_mode", "people"), [pytest.param("cut_off", 1, marks=pytest.mark.slow), ("silence", 2)])
def test_a_check_and_a_job_count_alike(tmp_path: Path, sync_mode: str, people: int) -> None:
    empty = np.full((320, 320, 3), 110, np.uint8)
    pictures = [side_by_side(empty, portrait())] * 6 + [side_by_side(other(), portrait())] * 6
    video = write_clip(tmp_path / "comes.mp4", pictures, "25", *ONE_KEY_FRAME)
    sources = sources_of(video, write_voice(tmp_path / "voice.wav", [(0.0, 0.2)], 0.2))
    options = JobOptions(sync_mode=sync_mode)
    found = find_faces_in(Settings(), video, sources.input, options)
    assert len(found) == people
    assert [face["index"] for face in found] == list(range(len(found)))


def clips_of(folder: Path) -> list[Path]:
    names = ("avatars/*.mp4", "clips/*.mp4", "clips/*.mpg", "clips/*.jpg", "real/*.mp4")
    every = [path for name in names for path in sorted((folder / "media").glob(name))]
    real = [path for path in every if path.parent.name == "real"]
    return [path for path in every if path.parent.name != "real"] + real[::25]


@pytest.mark.slow
def test_a_check_and_a_job_agree_on_real_clips(shared_dir: Path, tmp_path: Path, detector: FaceDetector) -> None:
    voice = write_voice(tmp_path / "voice.wav", [(0.0, 2.0)], 2.0)
    looked_at = 0
    for path in clips_of(shared_dir):
        ffprobe = subprocess.run(["ffmpeg", "-i", str(path)], capture_output=True, check=False)
        if b"Video:" not in ffprobe.stderr:
            continue
        facts: JobInput = sources_of(path, voice).input
        found = find_faces_in(Settings(), path, facts, JobOptions())
        source = opened(path)
        timeline = np.arange(min(source.frames, round(2.0 * float(source.rate))))
        sparse = find_sparse_faces(source, timeline, detector, never_stop)
        people = choose_subject("all", [frame.faces for frame in sparse]).people
        assert [round(face["x"], 1) for face in found] == [round(person.box[0], 1) for person in people], path.name
        for face in found:
            target = choose_subject(f"index:{face['index']:.0f}", [frame.faces for frame in sparse]).target
            assert target is not None and round(target.box[0], 1) == face["x"], path.name
        looked_at += 1
    assert looked_at > 30


class BlindDetector(FaceDetector):
    """Detector that finds nothing and counts the frames."""

    frames = 0

    def detect_in(self, view: FrameView) -> list[Face]:
        self.frames += 1
        return []


@pytest.mark.slow
def test_a_large_picture_without_a_face_is_searched_in_parts(tmp_path: Path) -> None:
    path, detector = tmp_path / "large.mp4", BlindDetector()
    grey = ("-f", "lavfi", "-i", "color=gray:s=3840x2160:r=25:d=4")
    subprocess.run([find_ffmpeg(None), "-v", "error", *grey, *ONE_KEY_FRAME, str(path)], check=True)
    source = opened(path)
    tracemalloc.start()
    try:
        find_sparse_faces(source, np.arange(source.frames), detector, never_stop)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * SPARSE_BYTES
    finally:
        tracemalloc.stop()
    assert detector.frames > 50


def test_a_search_stops_while_frames_that_were_read_wait_to_be_looked_at(tmp_path: Path) -> None:
    source = opened(write_clip(tmp_path / "clip.mp4", [portrait(64, 64)] * 12, "25"))
    looks: list[FrameView] = []

    class Detector(FaceDetector):
        def detect_in(self, view: FrameView) -> list[Face]:
            looks.append(view)
            return []

    def check() -> None:
        if looks and threading.current_thread() is not threading.main_thread():  # which may have read all frames
            raise RequestError(ErrorCode.CANCELED, "The job was canceled.")

    with pytest.raises(RequestError):
        find_sparse_faces(source, np.arange(source.frames), Detector(), check)
    assert len(looks) <= LOOK_THREADS
