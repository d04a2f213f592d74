"""Argument lists for ffmpeg."""

from __future__ import annotations

from typing import Any

FfmpegOptions = dict[str, str | int | float | None]  # None: an option without a value


def ffmpeg_arguments(stream: Any, binary: str, *options: str) -> list[str]:
    """Return the argument list that runs a stream of ffmpeg-python; `options` are global options of ffmpeg."""
    command = stream.global_args("-nostdin", "-v", "error", *options).compile(cmd=binary)
    return [str(argument) for argument in command]
