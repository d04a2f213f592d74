"""Recognition of files that were joined byte by byte although their format does not allow it.

Readers stop at the end of the first film, or of the second, and say nothing. So the bytes behind the last packet that
was read are searched for the beginning of another film.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, Final

BLOCK_BYTES: Final = 1024 * 1024
OVERLAP_BYTES: Final = 64
BEGINNINGS: Final = {
    "matroska": re.compile(rb"\x1a\x45\xdf\xa3.{1,40}?\x42\x82.{1,8}?(?:matroska|webm)", re.DOTALL),
    "flv": re.compile(rb"FLV\x01[\x00\x01\x04\x05]\x00\x00\x00\x09\x00\x00\x00\x00"),
}


def has_unread_film(path: Path, name: str, read_bytes: int) -> bool:
    """Return whether another film begins behind the first `read_bytes` bytes of a file of the format `name`."""
    with path.open("rb") as file:
        if name == "mov":
            return _movie_boxes(file) > 1
        beginning = BEGINNINGS.get(name)
        if beginning is None:
            return False
        file.seek(read_bytes)
        kept = b""
        while block := file.read(BLOCK_BYTES):
            if beginning.search(kept + block):
                return True
            kept = block[-OVERLAP_BYTES:]
    return False


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
