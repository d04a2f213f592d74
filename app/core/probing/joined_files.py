"""Recognition of files that were joined byte by byte although their format does not allow it.

Readers stop at the end of the first film, or of the second, and say nothing. So the bytes behind the last packet that
was read are searched for the beginning of another film. A reader of Matroska that goes on with the second film decodes
it with the codec headers of the first one, which gives errors or wrong pictures where the headers differ. Other formats
that can be joined repeat the headers between their packets, or are refused (MP4 with a second index).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, Final

import av

from app.core.errors import ErrorCode, InputError
from app.core.probing.allowed import guard_decoders, input_options
from app.core.probing.chain import Part, PartOfFile, find_pattern

BEGINNINGS: Final = {  # of at most PATTERN_BYTES of chain.py each
    "matroska": re.compile(rb"\x1a\x45\xdf\xa3.{1,40}?\x42\x82.{1,8}?(?:matroska|webm)", re.DOTALL),
    "asf": re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"),
    "flv": re.compile(rb"FLV\x01[\x00\x01\x04\x05]\x00\x00\x00\x09\x00\x00\x00\x00"),
}


def has_unread_film(path: Path, name: str, read_bytes: int) -> bool:
    """Return whether another film begins behind the first `read_bytes` bytes of a file of the format `name`."""
    with path.open("rb") as file:
        if name == "mov":
            return _movie_boxes(file) > 1
        return name in BEGINNINGS and next(find_pattern(file, BEGINNINGS[name], read_bytes), None) is not None


def headers_differ(path: Path, name: str, stream: int) -> bool:
    """Return whether a Matroska file holds several films, and one has other codec headers than the first.

    stream: number of the video stream. Raises InputError where a film cannot be opened.
    """
    if name != "matroska":
        return False
    size = path.stat().st_size
    with path.open("rb") as file:  # a reader stops after the second film, so no later one matters
        starts = [start for start, _ in zip(find_pattern(file, BEGINNINGS[name], 0), range(2), strict=False)]
    if len(starts) < 2:
        return False
    first, second = (_codec_headers(path, Part(start, size), stream) for start in starts)
    return first != second


def _codec_headers(path: Path, part: Part, stream: int) -> tuple[str, bytes] | None:
    """Return the name of the codec and its headers; None if the part has no such stream."""
    with PartOfFile(path, part) as file:
        try:
            container = av.open(file, "r", format="matroska", options=input_options("matroska"))
        except (av.FFmpegError, ValueError) as error:
            raise InputError(ErrorCode.VIDEO_UNREADABLE, "A part of the joined film is damaged.") from error
        with container:
            guard_decoders(container)
            if stream >= len(container.streams) or not (context := container.streams[stream].codec_context):
                return None
            return context.name, bytes(context.extradata or b"")


def _movie_boxes(file: BinaryIO) -> int:
    """Return the number of indexes at the top level of an MP4 file, up to a damaged place."""
    count = 0
    while len(head := file.read(8)) == 8:
        size, name = int.from_bytes(head[:4], "big"), head[4:]
        count += name == b"moov"
        header = 8
        if size == 1:
            size, header = int.from_bytes(file.read(8), "big"), 16
        if size < header:
            break
        file.seek(size - header, 1)
    return count
