from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from app.core.errors import ErrorCode, InputError
from app.core.probing.chain import BLOCK_BYTES
from app.core.probing.joined_files import headers_differ
from app.core.probing.probe import Limits, probe_video
from tests.worker.films import X264, Part, join_files, write_part

PARTS = (Part(range(10)), Part(range(10, 25)))
INTERLACED = (*X264, "-flags", "+ildct+ilme", "-x264-params", "tff=1")
WITHOUT_CABAC = (*X264, "-coder", "0")
WITH_CABAC = (*X264, "-coder", "1")
WMV2 = ("-c:v", "wmv2")


def joined(folder: Path, suffix: str, *options: tuple[str, ...]) -> Path:
    files = [
        write_part(folder / f"{index}.{suffix}", part, Fraction(25), *chosen)
        for index, (part, chosen) in enumerate(zip(PARTS, options, strict=True))
    ]
    return join_files(folder / f"film.{suffix}", files)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("mkv", (X264, INTERLACED)),
        ("mkv", (INTERLACED, X264)),
        ("mkv", (WITHOUT_CABAC, WITH_CABAC)),
        ("mkv", (X264, ("-c:v", "mpeg4"))),
        ("mp4", (X264, X264)),
        ("mp4", ((*X264, "-movflags", "frag_keyframe+empty_moov"), (*INTERLACED, "-movflags", "empty_moov"))),
        ("flv", (X264, X264)),
        ("asf", (WMV2, WMV2)),
    ],
)
def test_a_joined_film_of_which_a_part_would_be_wrong_is_refused(
    tmp_path: Path, suffix: str, options: tuple[tuple[str, ...], ...]
) -> None:
    with pytest.raises(InputError, match="joined") as caught:
        probe_video(joined(tmp_path, suffix, *options), Limits())
    assert caught.value.code == ErrorCode.VIDEO_UNREADABLE


@pytest.mark.parametrize(("suffix", "options"), [("mkv", X264), ("ts", X264), ("avi", X264), ("webm", ("-c:v", "vp8"))])
def test_a_joined_film_of_equal_parts_is_read(tmp_path: Path, suffix: str, options: tuple[str, ...]) -> None:
    assert probe_video(joined(tmp_path, suffix, options, options), Limits()).frames == 25


def test_new_headers_between_the_packets_are_read(tmp_path: Path) -> None:
    first, second = (
        write_part(tmp_path / f"{index}.flv", part, Fraction(25), *options).read_bytes()
        for index, (part, options) in enumerate(zip(PARTS, (X264, INTERLACED), strict=True))
    )
    path = tmp_path / "film.flv"
    path.write_bytes(first + second[13:])  # a stream that was interrupted: another sequence header, no second file
    assert probe_video(path, Limits()).frames == 25


@pytest.mark.parametrize("offset", [-30, -1, 0, 1])
def test_a_second_film_is_found_across_blocks(tmp_path: Path, offset: int) -> None:
    first, second = (
        write_part(tmp_path / f"{index}.mkv", part, Fraction(25), *options).read_bytes()
        for index, (part, options) in enumerate(zip(PARTS, (X264, INTERLACED), strict=True))
    )
    path = tmp_path / "film.mkv"
    path.write_bytes(first + bytes(BLOCK_BYTES - len(first) + offset) + second)
    assert headers_differ(path, "matroska", 0)
