"""Argument lists for ffmpeg."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from app.core.program_output import program_output

FfmpegOptions = dict[str, str | int | float | None]  # None: an option without a value

# ffmpeg-python takes no bytes that are no UTF-8. Private characters stand for them until the arguments are complete.
STAND_INS: Final = {0xDC00 + byte: 0x10FF00 + byte for byte in range(128, 256)}
STOOD_FOR: Final = {stand_in: character for character, stand_in in STAND_INS.items()}

MOST_THREADS: Final = 16  # of a decoder or an encoder, each of which holds frames


def file_address(path: Path) -> str:
    """Return the address of a file for ffmpeg, so that no name is taken for an option or a protocol."""
    return f"file:{path}".translate(STAND_INS)


def media_threads(cores: int) -> int:
    """Return how many threads decode or encode a film on a number of cores; ffmpeg itself would count all of them."""
    return min(MOST_THREADS, cores)


@lru_cache(maxsize=8)
def short_queue(ffmpeg: str) -> FfmpegOptions:
    """Return the output options with which one frame waits to be read, not eight; none for an ffmpeg without them."""
    picture = ("-f", "lavfi", "-i", "nullsrc=s=2x2", "-frames:v", "1")
    tried = program_output(ffmpeg, "-v", "error", *picture, "-thread_queue_size", "1", "-f", "framecrc", "-")
    return {"thread_queue_size": 1} if tried else {}


def ffmpeg_arguments(stream: Any, binary: str, *options: str) -> list[str]:
    """Return the argument list that runs a stream of ffmpeg-python; `options` are global options of ffmpeg."""
    command = stream.global_args("-nostdin", "-v", "error", *options).compile(cmd=binary)
    return [str(argument).translate(STOOD_FOR) for argument in command]
