from __future__ import annotations

import hashlib
import os
import signal
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from app.core.checks import never_stop
from app.core.errors import ErrorCode, InputError, LipSyncError
from app.core.probing.probe import Limits, find_ffmpeg, probe_video
from tests.processes import children_of, command_of
from tests.worker.clips import portrait, write_clip
from worker.faces.detect import FaceDetector
from worker.faces.frame_view import PlanesView
from worker.media.colour import ColourMatrix, rgb_of_planes, split_planes
from worker.media.decode import Source, decode, open_source
from worker.media.media_process import ProcessKilledError
from worker.media.sparse import sparse_frames, sparse_numbers


def opened(path: Path) -> Source:
    return open_source(path, probe_video(path, Limits()), find_ffmpeg(None), never_stop)


def hashes(source: Source, first: int, last: int) -> list[str]:
    return [hashlib.sha256(planes.tobytes()).hexdigest() for planes in decode(source, first, last, never_stop)]


def rgb_of(source: Source, planes: np.ndarray) -> np.ndarray:
    y, u, v = split_planes(planes)
    full = [np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1) for plane in (u, v)]
    return rgb_of_planes(y, full[0], full[1], source.colour)


@pytest.mark.parametrize("name", ["long.mp4", "long.mkv", "long.ts"])
def test_any_range_is_that_part_of_the_whole(media_dir: Path, name: str) -> None:
    frames = (portrait(160, 128, shift=(i * 7) % 50) for i in range(160))
    path = media_dir / name
    if not path.exists():
        write_clip(path, frames, "30000/1001", "-c:v", "libx264", "-bf", "3", "-g", "40", "-pix_fmt", "yuv420p")
    source = opened(path)
    assert (source.frames, str(source.rate)) == (160, "30000/1001")
    whole = hashes(source, 0, 160)
    assert len(set(whole)) > 40
    for first, last in ((0, 7), (63, 66), (95, 121), (150, 160), (159, 160)):
        assert hashes(source, first, last) == whole[first:last]


@pytest.mark.parametrize(
    ("ended_by", "error"),
    [
        (signal.SIGKILL, ProcessKilledError),
        (signal.SIGTERM, ProcessKilledError),
        (signal.SIGINT, ProcessKilledError),
        (signal.SIGSEGV, InputError),
    ],
)
def test_a_decoder_that_ends_early_leaves_no_frozen_frames(
    tmp_path: Path, ended_by: signal.Signals, error: type[LipSyncError]
) -> None:
    picture, count = portrait(160, 128), 1500  # more than ffmpeg keeps in its queues, which it still gives out
    speedy = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    write_clip(tmp_path / "clip.mp4", (picture for _ in range(count)), "25", *speedy)
    frames = decode(opened(tmp_path / "clip.mp4"), 0, count, never_stop)
    next(frames)
    (ffmpeg,) = [child for child in children_of(os.getpid()) if "clip.mp4" in " ".join(command_of(child))]
    ffmpeg.send_signal(ended_by)
    time.sleep(3)  # it looks for signals twice a second, and would go on meanwhile if it were read from
    with pytest.raises(error):
        deque(frames)


VARIABLE = "broken/video_variable_rate.mp4 broken/video_start_8s_both.mkv broken/video_edit_list_cut.mp4"
OTHERS = "broken/video_mpeg4_bframes.avi broken/video_60fps.mp4 broken/video_interlaced.mp4 clips/usgov_stage_cuts.mp4"


@pytest.mark.parametrize("name", f"{VARIABLE} {OTHERS} broken/video_cut_last_2kb_index_first.mp4".split())
def test_any_range_of_real_files(shared_dir: Path, name: str) -> None:
    source = opened(shared_dir / "media" / name)
    whole = hashes(source, 0, source.frames)
    for first in (source.frames // 2, source.frames * 9 // 10, source.frames - 2):
        last = min(first + 5, source.frames)
        assert hashes(source, first, last) == whole[first:last]


def test_frames_are_the_very_frames_of_the_file(media_dir: Path) -> None:
    path = media_dir / "exact.mkv"
    stack = [portrait(128, 96, shift=3.0 * i) for i in range(6)]
    write_clip(path, stack, "25", "-c:v", "ffv1", "-pix_fmt", "yuv420p", "-vf", "scale=out_color_matrix=bt601")
    source = opened(path)
    assert source.colour is ColourMatrix.BT601
    for planes, expected in zip(decode(source, 0, 6, never_stop), stack, strict=True):
        assert np.abs(rgb_of(source, planes).astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    "name",
    [
        "video_rotated_90.mp4",
        "video_rotated_180.mp4",
        "video_rotated_270.mp4",
        "video_nonsquare_pixels.mp4",
        "video_full_range.mp4",
        "video_h264_10bit.mp4",
        "video_rgb_h264.mp4",
        "video_yuv444.mp4",
        "video_hevc_main10_hdr_tags.mp4",
        "video_start_8s_video_only.mp4",
        "video_cover_picture.mp4",
        "video_two_video_streams.mp4",
        "video_mpeg2_ts.ts",
        "video_one_frame.mp4",
    ],
)
def test_odd_files_show_the_same_upright_face(shared_dir: Path, detector: FaceDetector, name: str) -> None:
    source = opened(shared_dir / "media" / "broken" / name)
    assert (source.width, source.height) == (400, 592)
    (planes,) = decode(source, 0, 1, never_stop)
    (face,) = detector.detect_in(PlanesView(planes, source.colour))
    assert face.height_px == pytest.approx(138, abs=6)
    assert face.landmarks[10, 1] < face.landmarks[152, 1]
    base = opened(shared_dir / "media" / "broken" / "video_good_base.mp4")
    (expected,) = decode(base, 0, 1, never_stop)
    difference = np.abs(rgb_of(source, planes).astype(int) - rgb_of(base, expected)).mean()
    assert difference < (60 if "hdr" in name else 8)


def test_odd_sizes_grow_by_one(shared_dir: Path) -> None:
    source = opened(shared_dir / "media" / "broken" / "video_321x241_odd.mp4")
    planes = next(decode(source, 0, 1, never_stop))
    y = split_planes(planes)[0]
    assert y.shape == (242, 322)
    assert np.array_equal(y[:, 320], y[:, 321])
    assert np.array_equal(y[240], y[241])


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("plain.png", lambda image, path: image.save(path)),
        ("grey.png", lambda image, path: image.convert("L").save(path)),
        ("palette.png", lambda image, path: image.quantize(200).save(path)),
        ("cmyk.jpg", lambda image, path: image.convert("CMYK").save(path, quality=95)),
        ("odd.webp", lambda image, path: image.crop((0, 0, 511, 509)).save(path, lossless=True)),
    ],
)
def test_stills_become_planes(tmp_path: Path, name: str, save: object) -> None:
    assert callable(save)
    save(Image.fromarray(astronaut()), tmp_path / name)
    source = opened(tmp_path / name)
    assert source.is_still
    assert (source.width % 2, source.height % 2) == (0, 0)
    frames = list(decode(source, 0, 3, never_stop))
    assert len(frames) == 3
    expected = astronaut()[: source.height, : source.width]
    expected = np.asarray(Image.fromarray(expected).convert("L").convert("RGB")) if "grey" in name else expected
    shown = rgb_of(source, frames[2])[: source.facts.height, : source.facts.width]
    assert np.abs(shown.astype(int) - expected[: shown.shape[0], : shown.shape[1]]).mean() < 6


def test_transparency_is_flattened_on_white_without_a_fringe(tmp_path: Path) -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[16:48, 16:48] = (255, 255, 255, 255)  # white on transparent black: any fringe would be grey
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    source = opened(tmp_path / "alpha.png")
    (planes,) = decode(source, 0, 1, never_stop)
    assert split_planes(planes)[0].min() == 235


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_exif_orientation_is_honoured(tmp_path: Path, detector: FaceDetector, orientation: int) -> None:
    image = Image.fromarray(astronaut()[:300, 80:340])
    undo = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180}
    undo |= {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    source = opened(tmp_path / "turned.jpg")
    assert (source.width, source.height) == (260, 300)
    (planes,) = decode(source, 0, 1, never_stop)
    assert np.abs(rgb_of(source, planes).astype(int) - np.asarray(image)).mean() < 6


def seen(source: Source, first: int, last: int, count: int) -> list[tuple[np.ndarray, tuple[int, bytes]]]:
    """Return sparse frames, each with its number and its first row as they were shown while others were decoded."""

    def see(number: int, planes: np.ndarray) -> tuple[int, bytes]:
        return number, planes[0].tobytes()

    numbers = sparse_numbers(first, last, count)
    pairs = list(sparse_frames(source, numbers, last, see, never_stop))
    assert [number for _, (number, _) in pairs] == numbers[: len(pairs)]
    assert all(planes[0].tobytes() == row for planes, (_, row) in pairs)
    return pairs


def test_sparse_frames_are_few_and_spread(moving_clip: Path) -> None:
    source = opened(moving_clip)
    assert len(seen(source, 0, 100, 5)) == 5
    assert 1 <= len(seen(source, 98, 100, 5)) <= 2


GREY = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "4", "-sc_threshold", "0", "-pix_fmt", "yuv420p")


def grey_clip(path: Path, frames: int, *options: str) -> Source:
    """Write a clip whose frame number n has the level 20 + 2 * (n % 100)."""
    levels = (20 + 2 * (number % 100) for number in range(frames))
    return opened(write_clip(path, (np.full((64, 64, 3), level, np.uint8) for level in levels), "25", *options))


def numbers_of(source: Source, first: int, last: int, count: int) -> list[int]:
    return [round((float(rgb_of(source, planes).mean()) - 20) / 2) for planes, _ in seen(source, first, last, count)]


@pytest.mark.parametrize(("suffix", "interval"), [("mp4", 5), ("mp4", 250), ("ts", 250)])
def test_sparse_frames_do_not_depend_on_key_frames(tmp_path: Path, suffix: str, interval: int) -> None:
    source = grey_clip(tmp_path / f"grey.{suffix}", 96, *GREY, "-bf", "0", "-g", str(interval))
    assert numbers_of(source, 0, 96, 8) == list(range(0, 96, 12))
    assert numbers_of(source, 24, 96, 3) == [24, 48, 72]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_both_halves_of_a_range_are_spaced_alike(tmp_path: Path, suffix: str) -> None:
    source = grey_clip(tmp_path / f"grey.{suffix}", 420, *GREY, "-bf", "2", "-g", "100")
    whole = numbers_of(source, 0, 420, 9)
    assert whole == pytest.approx([number % 100 for number in sparse_numbers(0, 420, 9)], abs=2)
    assert numbers_of(source, 140, 420, 6) == whole[3:]


def slow(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("suffix", "interval"),
    [("mp4", 12), ("ts", 12), slow("mkv", 12), slow("mpg", 12), slow("avi", 12)]
    + [slow(suffix, 250) for suffix in ("mp4", "mkv", "ts", "mpg", "avi")],
)
def test_sparse_frames_of_a_long_clip_lie_where_they_should(tmp_path: Path, suffix: str, interval: int) -> None:
    codec = ("-c:v", "mpeg2video", "-q:v", "2", "-sc_threshold", "1000000000") if suffix == "mpg" else GREY
    source = grey_clip(tmp_path / f"long.{suffix}", 1000, *codec, "-bf", "3", "-g", str(interval))
    for found, wanted in zip(numbers_of(source, 0, 1000, 5), range(0, 1000, 200), strict=True):
        assert (found - wanted) % 100 in (98, 99, 0, 1, 2, 3, 4, 5)


def test_sparse_frames_are_found_where_only_key_frames_are_references(tmp_path: Path) -> None:
    options = ("-c:v", "libx264", "-bf", "16", "-b_strategy", "0", "-x264-params", "b-pyramid=none:keyint=17:crf=4")
    source = grey_clip(tmp_path / "sparse.mp4", 96, *options, "-pix_fmt", "yuv420p")
    assert len(numbers_of(source, 0, 96, 16)) >= 13


def test_a_large_frame_that_was_accepted_is_decoded(tmp_path: Path) -> None:
    options = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-vf", "scale=4200:2400")
    path = write_clip(tmp_path / "large.mp4", [portrait(64, 64)], "25", *options)
    assert Limits().max_pixels < 4200 * 2400
    facts = probe_video(path, Limits(max_pixels=4200 * 2400))
    source = open_source(path, facts, find_ffmpeg(None), never_stop)
    assert next(decode(source, 0, 1, never_stop)).shape == (3600, 4200)


def test_a_file_that_breaks_off_is_an_error_not_a_freeze(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "cut.mkv", (portrait(96, 96, shift=float(i)) for i in range(40)))
    source = opened(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])  # what the probe saw is gone
    with pytest.raises(InputError) as caught:
        list(decode(source, 0, 40, never_stop))
    assert caught.value.code == ErrorCode.VIDEO_UNREADABLE
    assert "decoded up to" in caught.value.message


@pytest.mark.parametrize("first", [0, 7, 12])
def test_frames_that_are_missing_show_the_film_and_not_what_was_drawn_into_it(tmp_path: Path, first: int) -> None:
    known = opened(write_clip(tmp_path / "clip.mkv", (portrait(96, 96, shift=float(i)) for i in range(12))))
    (last,) = decode(known, 11, 12, never_stop)
    source = replace(known, facts=known.facts.model_copy(update={"frames": 14}))
    shown = []
    for planes in decode(source, first, 14, never_stop):
        shown.append(planes.copy())
        planes[:] = 0  # as blending does
    assert len(shown) == 14 - first
    assert all(np.array_equal(planes, last) for planes in shown[max(0, 11 - first) :])
