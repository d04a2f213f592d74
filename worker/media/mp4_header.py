"""The headers of H.264 in an MP4 that our own encoder wrote: its parameter sets, which every picture refers to.

MP4 is a tree of boxes, each with its length and its name in front (ISO/IEC 14496-12). The parameter sets lie in the box
`avcC` (ISO/IEC 14496-15) inside of `moov`.
"""

from __future__ import annotations

import struct
from pathlib import Path


def h264_header(path: Path) -> bytes:
    """Return the content of the box `avcC` of an MP4 that this service encoded; raises ValueError if it has none."""
    tree = _top_box(path, b"moov")
    name_at = tree.find(b"avcC")
    if name_at < 4:
        raise ValueError("no H.264")
    (length,) = struct.unpack_from(">I", tree, name_at - 4)
    return tree[name_at + 4 : name_at - 4 + length]


def _top_box(path: Path, wanted: bytes) -> bytes:
    """Return the content of a box that lies in no other one."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            size = length - 8
            if length == 1:  # a longer length follows the name
                size = struct.unpack(">Q", file.read(8))[0] - 16
            if size < 0:
                break
            if name == wanted:
                return file.read(size)
            file.seek(size, 1)
    raise ValueError(f"no box {wanted!r}")
