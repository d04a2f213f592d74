"""The sound of the output: decoded by a program of its own, whose samples go straight into the encoder's ffmpeg.

So no file as long as the sound is written, and ffmpeg, which loses or doubles samples where the rate or the clock of a
sound changes, gets samples that simply follow each other.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

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

    def feed(self, length_s: Fraction, check: Check) -> Feed:
        """Return the feed of so many seconds of the sound."""
        return SoundFeed(self, length_s, check)


class OutputSound(Protocol):
    """Sound of an output."""

    def feed(self, length_s: Fraction, check: Check) -> Feed:
        """Return the feed of so many seconds of the sound."""


class Feed(ABC):
    """Samples of `length_s` seconds of output, and the pipe from which ffmpeg reads them.

    A context manager. ffmpeg has to inherit `fd`; `close_pipe` is called once it has.
    """

    def __init__(self, facts: Sequence[AudioFacts], length_s: Fraction) -> None:
        rates = {one.sample_rate_hz for one in facts}
        self._length_s = length_s
        self._rate_hz = rates.pop() if len(rates) == 1 and rates <= set(KEPT_RATES_HZ) else 48_000
        self._channels = max((min(2, one.channels) for one in facts), default=1)
        self.fd = -1

    def __enter__(self) -> Self:
        self.fd, writing_fd = os.pipe()
        try:
            self._start(writing_fd)
        except BaseException:
            self.close_pipe()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_pipe()
        self._end()

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

    @abstractmethod
    def finish(self) -> None:
        """Wait for the end of the samples, once ffmpeg has ended; raises ServiceError if they could not be had."""

    @abstractmethod
    def _start(self, writing_fd: int) -> None:
        """Begin to write the samples; takes over the descriptor."""

    @abstractmethod
    def _end(self) -> None:
        """Stop writing."""

    def _request(self, sound: PlayedSound, begin_s: float, end_s: float) -> SoundRequest:
        """Return the request for a sound at the rate and with the channels of the output."""
        return SoundRequest.of(
            sound.path,
            sound.facts,
            rate_hz=self._rate_hz,
            channels=self._channels,
            begin_s=begin_s,
            end_s=end_s,
            is_heard=False,
        )


class SoundFeed(Feed):
    """Feed of one sound: a program decodes it."""

    def __init__(self, sound: PlayedSound, length_s: Fraction, check: Check) -> None:
        super().__init__([sound.facts], length_s)
        self._sound, self._check = sound, check

    def _start(self, writing_fd: int) -> None:
        try:
            program = self._request(self._sound, self._sound.begin_s, float(self._length_s)).to_program()
            self._process = MediaProcess(program, self._check, output_fd=writing_fd, opens=[self._sound.path])
            self._process.__enter__()
        finally:
            os.close(writing_fd)

    def _end(self) -> None:
        self._process.__exit__(None, None, None)

    def finish(self) -> None:
        """Wait for the end of the program, once ffmpeg has ended; raises ServiceError if it failed."""
        if self._process.wait() != 0:
            raise self._process.failure(ErrorCode.ENCODE_FAILED, "The sound could not be decoded to its end.")
