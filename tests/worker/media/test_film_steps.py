"""Films with an unusual container, clock or picture are decoded as players show them, and any range as in the whole."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.errors import ErrorCode, InputError
from app.core.probing.probe import Limits, find_ffmpeg, probe_picture, probe_video
from tests.worker.films import (
    MPEG2,
    X264,
    Part,
    expected_luma,
    join_files,
    join_tracks,
    number_in,
    run_ffmpeg,
    write_part,
)
from worker.faces.detect import FaceDetector
from worker.faces.frame_view import PlanesView
from worker.media.colour import split_planes
from worker.media.decode import Source, decode, open_source
from worker.media.sparse import sparse_frames, sparse_numbers
from worker.pipeline.film_warnings import film_warnings

RATE = Fraction(25)
WIDE = Fraction(64, 45)
VP8 = ("-c:v", "libvpx", "-b:v", "1M", "-deadline", "realtime")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10le")


def opened(path: Path) -> Source:
    facts = probe_video(path, Limits())
    assert facts.picture == probe_picture(path, Limits(), facts.picture_changes)  # of a record without
    return open_source(path, facts, find_ffmpeg(None), never_stop)


def luma_of(source: Source, first: int = 0, last: int | None = None) -> list[np.ndarray]:
    height, width = source.facts.height, source.facts.width
    frames = decode(source, first, source.frames if last is None else last, never_stop)
    return [split_planes(planes)[0][:height, :width] for planes in frames]


def check_frames(source: Source, expected: Sequence[tuple[Part, int]]) -> None:
    """Check that the frames are those of the parts, in order and in proportion, and that ranges equal the whole."""
    whole = luma_of(source)
    assert [number_in(luma, part) for luma, (part, _) in zip(whole, expected, strict=True)] == [n for _, n in expected]
    size = (source.facts.width, source.facts.height)
    for luma, (part, number) in zip(whole, expected, strict=True):
        assert np.abs(luma - expected_luma(part, number, size)).mean() < 8
    for first in (len(whole) // 2, len(whole) - 2):
        for one, other in zip(luma_of(source, first, first + 2), whole[first:], strict=False):
            assert np.array_equal(one, other)


def numbered(*parts: Part) -> list[tuple[Part, int]]:
    return [(part, number) for part in parts for number in part.numbers]


A, B, C = range(20), range(20, 32), range(32, 50)
JOINED = {
    "a stream": ("ts", X264, (Part(A), Part(B), Part(C))),
    "a disc": ("vob", MPEG2, (Part(A), Part(B))),
    "Matroska": ("mkv", (*X264, "-bf", "2"), (Part(A), Part(B))),
    "short parts": ("ts", X264, (Part(range(4)), Part(range(4, 8)), Part(range(8, 30)))),
    "sizes": ("ts", X264, (Part(A), Part(B, 64, 96), Part(C, 128, 48))),
    "sizes of VP8": ("webm", VP8, (Part(B, 64, 96), Part(A))),
    "sizes and depths": ("ts", HEVC, (Part(A), Part(B, 64, 96))),
    "aspects": ("vob", MPEG2, (Part(A, aspect=Fraction(8, 9)), Part(B, aspect=Fraction(32, 27)))),
    "sizes and aspects": ("ts", X264, (Part(A), Part(B, 96, 64, WIDE), Part(C, 64, 64, 1 / WIDE))),
}


@pytest.mark.parametrize("kind", JOINED)
def test_joined_files_follow_each_other_in_proportion(tmp_path: Path, kind: str) -> None:
    suffix, codec, parts = JOINED[kind]
    files = [write_part(tmp_path / f"{i}.{suffix}", part, RATE, *codec) for i, part in enumerate(parts)]
    source = opened(join_files(tmp_path / f"film.{suffix}", files))
    assert (source.facts.fps, source.facts.clock_restarts) == ("25", len(parts) - 1)
    assert source.facts.picture_changes is (len({part.shown_size for part in parts}) > 1)
    usual = max(parts, key=lambda part: len(part.numbers))
    assert (source.facts.width, source.facts.height) == usual.shown_size
    check_frames(source, numbered(*parts))
    times = sparse_numbers(0, source.frames, 4)
    assert len(list(sparse_frames(source, times, source.frames, lambda number, _: number, never_stop))) == 4
    assert any("starts again" in warning for warning in film_warnings(source.facts))


@pytest.mark.parametrize(
    ("offset_s", "pause", "restarts"),
    [(2.4, 40, 0), (8.0, 180, 0), (40.0, 0, 1), (7200.0, 0, 1), (95_440.0, 0, 1)],  # a pause is kept, a jump is not
)
def test_a_jump_forward_of_the_clock(tmp_path: Path, offset_s: float, pause: int, restarts: int) -> None:
    first = write_part(tmp_path / "a.ts", Part(A), RATE)
    second = write_part(tmp_path / "b.ts", Part(B), RATE, *X264, "-output_ts_offset", str(offset_s))
    source = opened(join_files(tmp_path / "film.ts", [first, second]))
    assert source.facts.clock_restarts == restarts
    check_frames(source, [*numbered(Part(A)), *[(Part(A), A[-1])] * pause, *numbered(Part(B))])


@pytest.mark.parametrize(
    ("name", "turn", "margin"),
    [
        *(("film.mp4", turn, 0) for turn in ("", "90", "180", "270", "mirrored")),
        ("film.mov", "90", 8),
        ("film.mov", "", 8),
        ("film.mkv", "", 8),
        ("film.mkv", "270", 8),
    ],
)
def test_what_the_container_says_of_the_picture(tmp_path: Path, turn: str, name: str, margin: int) -> None:
    part = Part(A, aspect=Fraction(16, 11), turn=turn, margin=margin)
    source = opened(write_part(tmp_path / name, part, RATE))
    assert (source.facts.width, source.facts.height) == part.shown_size
    check_frames(source, numbered(part))


def test_the_default_track_is_chosen_and_told(tmp_path: Path) -> None:
    parts = [Part(A), Part(B, 64, 96)]
    files = [write_part(tmp_path / f"{i}.mp4", part, RATE) for i, part in enumerate(parts)]
    source = opened(join_tracks(tmp_path / "film.mkv", files, "-disposition:v:0", "0", "-disposition:v:1", "default"))
    assert source.facts.video_tracks == 2
    check_frames(source, numbered(parts[1]))
    assert "2 video tracks" in film_warnings(source.facts)[0]


def test_a_first_track_that_cannot_be_decoded_is_passed_over(tmp_path: Path) -> None:
    parts = [Part(A), Part(B, 64, 96)]
    files = [write_part(tmp_path / f"{i}.mp4", part, RATE) for i, part in enumerate(parts)]
    path = join_tracks(tmp_path / "film.mp4", files)
    data = path.read_bytes()
    at = data.index(b"avc1", data.index(b"stsd"))
    path.write_bytes(data[:at] + b"zzzz" + data[at + 4 :])
    check_frames(opened(path), numbered(parts[1]))


def test_a_film_that_begins_between_key_frames(tmp_path: Path) -> None:
    whole = write_part(tmp_path / "whole.mp4", Part(range(40)), RATE, *X264, "-g", "30", "-bf", "2")
    run_ffmpeg("-ss", "0.4", "-i", str(whole), "-c", "copy", str(tmp_path / "film.mp4"))
    check_frames(opened(tmp_path / "film.mp4"), numbered(Part(range(10, 40))))


def test_what_lies_before_the_beginning_is_not_shown(tmp_path: Path) -> None:
    early = (*X264, "-bf", "0", "-output_ts_offset", "-0.4", "-avoid_negative_ts", "disabled")
    source = opened(write_part(tmp_path / "film.mp4", Part(range(20)), RATE, *early))
    check_frames(source, numbered(Part(range(10, 20))))


@pytest.mark.parametrize("codec", [(*X264, "-flags", "+ildct+ilme", "-x264-params", "tff=1"), MPEG2])
def test_fields_that_are_flagged_later_are_deinterlaced(tmp_path: Path, codec: Sequence[str]) -> None:
    still = write_part(tmp_path / "a.ts", Part([7] * 20), RATE, *(MPEG2 if codec is MPEG2 else X264))
    fields = (
        "-vf",
        "setfield=tff,interlace=lowpass=off",
        *codec,
        *(("-flags", "+ildct+ilme") if codec is MPEG2 else ()),
    )
    moving = write_part(tmp_path / "b.ts", Part([0, 255] * 20), RATE, *fields)  # each picture becomes one field
    source = opened(join_files(tmp_path / "film.ts", [still, moving]))
    assert source.picture.may_be_interlaced
    combs = [np.abs(np.diff(luma[4:28].astype(int), axis=0)).mean() for luma in luma_of(source)]
    assert max(combs[:20]) < 3
    assert max(combs[22:-1]) < 12  # fields that are only woven give more than 100


def test_a_film_turned_in_the_middle_is_refused(tmp_path: Path) -> None:
    straight = write_part(tmp_path / "a.ts", Part(A), RATE)
    turn = ("-bsf:v", "h264_metadata=rotate=90:display_orientation=insert")
    run_ffmpeg("-i", str(straight), "-c", "copy", *turn, str(tmp_path / "b.ts"))
    with pytest.raises(InputError, match="turned") as caught:
        probe_video(join_files(tmp_path / "film.ts", [straight, tmp_path / "b.ts"]), Limits())
    assert caught.value.code == ErrorCode.VIDEO_UNREADABLE


@pytest.mark.parametrize(("suffix", "count"), [("flv", 2), ("mp4", 2), ("mkv", 3)])
def test_joined_files_that_are_not_read_whole_are_refused(tmp_path: Path, suffix: str, count: int) -> None:
    part = write_part(tmp_path / f"part.{suffix}", Part(A), RATE)
    assert probe_video(part, Limits()).frames == len(A)
    with pytest.raises(InputError, match="joined") as caught:
        probe_video(join_files(tmp_path / f"film.{suffix}", [part] * count), Limits())
    assert caught.value.code == ErrorCode.VIDEO_UNREADABLE


def test_an_ordinary_film_has_no_warnings(short_clip: Path) -> None:
    assert film_warnings(probe_video(short_clip, Limits())) == []


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("clock_restarts.ts", {"frames": 75, "fps": "25", "duration_s": 3.0, "clock_restarts": 1}),
        ("size_changes.ts", {"fps": "25", "width": 400, "height": 592, "picture_changes": True}),
        ("interlaced_after_first_frame.ts", {"frames": 75, "fps": "25", "width": 400, "height": 592}),
        ("container_crop.mkv", {"frames": 75, "width": 512, "height": 360}),
    ],
)
def test_reported_films(shared_dir: Path, name: str, facts: dict[str, object]) -> None:
    source = opened(shared_dir / "field_cases" / name)
    assert {key: getattr(source.facts, key) for key in facts} == facts
    whole = luma_of(source)
    assert len(whole) == source.frames
    for first in (25, 50, source.frames - 3):
        for one, other in zip(luma_of(source, first, first + 3), whole[first:], strict=False):
            assert np.array_equal(one, other)


def test_reported_faces_keep_their_proportions(shared_dir: Path, detector: FaceDetector) -> None:
    source = opened(shared_dir / "field_cases" / "container_crop.mkv")
    (planes,) = decode(source, 0, 1, never_stop)
    (face,) = detector.detect_in(PlanesView(planes, source.colour))
    width = np.linalg.norm(face.landmarks[454, :2] - face.landmarks[234, :2])
    assert width / face.height_px == pytest.approx(0.82, abs=0.05)


def test_reported_fields_are_not_combed(shared_dir: Path) -> None:
    source = opened(shared_dir / "field_cases" / "interlaced_after_first_frame.ts")
    combs = []
    for luma in luma_of(source, 30, 70):
        rows = luma.astype(int)
        combs.append(np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean() - np.abs(rows[:-2] - rows[2:]).mean())
    assert max(combs) < 1.0


def test_a_photo_in_tiles_is_refused(shared_dir: Path) -> None:
    with pytest.raises(InputError, match="HEIC") as caught:
        probe_video(shared_dir / "field_cases" / "photo_in_tiles.heic", Limits())
    assert caught.value.code == ErrorCode.VIDEO_UNREADABLE
