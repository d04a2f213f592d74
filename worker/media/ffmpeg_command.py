"""Argument lists for ffmpeg, and the inputs and filters that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import ffmpeg

from app.core.jobs import AudioFacts

FfmpegOptions = dict[str, str | int | float | None]  # None: an option without a value

FROM_ZERO: Final = "asetpts=PTS-STARTPTS,aresample={rate}:async=1:first_pts=0"


def audio_input(path: Path, facts: AudioFacts) -> Any:  # ffmpeg-python has no types
    """Return the ffmpeg input of a sound file: its format is forced, and no protocol except `file` is allowed."""
    return ffmpeg.input(f"file:{path}", f=facts.format, protocol_whitelist="file")


def ffmpeg_arguments(stream: Any, binary: str, *options: str) -> list[str]:
    """Return the argument list that runs a stream of ffmpeg-python; `options` are global options of ffmpeg."""
    command = stream.global_args("-nostdin", "-v", "error", *options).compile(cmd=binary)
    return [str(argument) for argument in command]
