"""The sound of the output: decoded by a program of its own, whose samples go straight into the encoder's ffmpeg.

So no file as long as the sound is written, and ffmpeg, which loses or doubles samples where the rate or the clock of a
sound changes, gets samples that simply follow each other.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import ffmpeg

from app.core.checks import Check
from app.core.errors import ErrorCode
from app.core.jobs import AudioFacts
from worker.media.ffmpeg_command import FfmpegOptions
from worker.media.media_process import MediaProcess
from worker.media.sound_program import SoundRequest

KEPT_RATES_HZ: Final = (44_100, 32_000)  # other rates become 48 kHz, whose short AAC frames can be trimmed finely
BITRATES: Final = {1: "128k", 2: "192k"}


class PlayedSound(NamedTuple):
    """Sound file, its facts, and the silence before its first sample in seconds; if negative, what is left out."""

    path: Path
    facts: AudioFacts
    begin_s: float


class SoundFeed:
    """Program that decodes a sound for `length_s` seconds of output, and the pipe from which ffmpeg reads it.

    A context manager. ffmpeg has to inherit `fd`; `close_pipe` is called once it has.
    """

    def __init__(self, sound: PlayedSound, length_s: Fraction, check: Check) -> None:
        facts = sound.facts
        self._length_s = length_s
        self._rate_hz = facts.sample_rate_hz if facts.sample_rate_hz in KEPT_RATES_HZ else 48_000
        self._channels = min(2, facts.channels)
        self._check = check
        self._request = SoundRequest(
            path=str(sound.path),
            format=facts.format,
            track=facts.track,
            rate_hz=self._rate_hz,
            channels=self._channels,
            begin_s=sound.begin_s,
            end_s=float(length_s),
            is_heard=False,
            file_channels=facts.channels,
        )
        self.fd = -1

    def __enter__(self) -> SoundFeed:
        self.fd, writing_fd = os.pipe()
        try:
            self._process = MediaProcess(
                self._request.to_program(), self._check, output_fd=writing_fd, opens=[Path(self._request.path)]
            )
            self._process.__enter__()
        except BaseException:
            self.close_pipe()
            raise
        finally:
            os.close(writing_fd)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_pipe()
        self._process.__exit__(kind, error, trace)

    @property
    def input(self) -> Any:  # ffmpeg-python has no types
        """Return the input of ffmpeg that reads the samples."""
        return ffmpeg.input(f"pipe:{self.fd}", format="s16le", ar=self._rate_hz, ac=self._channels)

    @property
    def options(self) -> FfmpegOptions:
        """Return the output options of the sound, which is made exactly as long as the frames, to the sample."""
        end = f"apad,atrim=end_sample={round(self._length_s * self._rate_hz)}"
        return {"acodec": "aac", "b:a": BITRATES[self._channels], "af": end}

    def close_pipe(self) -> None:
        """Close this process's end of the pipe, so that the pipe ends with ffmpeg."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def finish(self) -> None:
        """Wait for the end of the program, once ffmpeg has ended; raises ServiceError if it failed."""
        if self._process.wait() != 0:
            raise self._process.failure(ErrorCode.ENCODE_FAILED, "The sound could not be decoded to its end.")
