"""Facts that PyAV does not offer as values, read from libavformat's description of an open file.

libavformat describes a file in a fixed form (`av_dump_format`). The description has names and titles from the file in
it, which are in lines of `Metadata:`; only lines under `Side data:` are read, so a title cannot pretend to be a fact.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import av.container
import av.logging

STREAM: Final = re.compile(r"^  Stream #0:(\d+)")
GROUP: Final = re.compile(r"^  Stream group #0:\d+.*: Tile Grid:", re.MULTILINE)
SIDE_DATA: Final = re.compile(r"^    Side data:$", re.IGNORECASE)
CROPPING: Final = re.compile(r"^      Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)")


@dataclass(frozen=True)
class Crop:
    """Rows and columns of the stored picture that are not shown, in pixels."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    @property
    def columns(self) -> int:
        """Return the number of columns that are not shown."""
        return self.left + self.right

    @property
    def rows(self) -> int:
        """Return the number of rows that are not shown."""
        return self.top + self.bottom


@dataclass(frozen=True)
class ContainerFacts:
    """Cropping that the container asks for, by stream number, and whether a picture is stored as a grid of tiles."""

    crops: dict[int, Crop]
    has_tiles: bool


def describe_container(container: av.container.InputContainer) -> ContainerFacts:
    """Return the facts in libavformat's description of an open file."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # the description goes through the log, where PyAV catches it
    try:
        return parse_description(container.dumps_format())  # type: ignore[attr-defined]  # missing in its stubs
    finally:
        av.logging.set_level(before)


def parse_description(text: str) -> ContainerFacts:
    """Return the facts in a description that `av_dump_format` made."""
    crops: dict[int, Crop] = {}
    stream, is_side_data = None, False
    for line in text.splitlines():
        if found := STREAM.match(line):
            stream, is_side_data = int(found[1]), False
        elif line.startswith("    ") and line[4:5] != " ":
            is_side_data = SIDE_DATA.match(line) is not None
        elif is_side_data and stream is not None and (found := CROPPING.match(line)):
            left, right, top, bottom = (int(number) for number in found.groups())
            crops[stream] = Crop(left, right, top, bottom)
    return ContainerFacts(crops, GROUP.search(text) is not None)
