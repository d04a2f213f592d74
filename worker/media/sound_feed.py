"""The sound of the output: decoded by a program of its own, whose samples go straight into the encoder's ffmpeg.

So no file as long as the sound is written, and ffmpeg, which loses or doubles samples where the rate or the clock of a
sound changes, gets samples that simply follow each other.
"""

from __future__ import annotations

import os
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


class Feed:
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

    def finish(self) -> None:
        """Wait for the end of the samples, once ffmpeg has ended; raises ServiceError if they could not be had."""
        raise NotImplementedError

    def _start(self, writing_fd: int) -> None:
        """Begin to write the samples; takes over the descriptor."""
        raise NotImplementedError

    def _end(self) -> None:
        """Stop writing."""
        raise NotImplementedError


class SoundFeed(Feed):
    """Feed of one sound: a program decodes it."""

    def __init__(self, sound: PlayedSound, length_s: Fraction, check: Check) -> None:
        facts = sound.facts
        super().__init__([facts], length_s)
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

    def _start(self, writing_fd: int) -> None:
        try:
            self._process = MediaProcess(
                self._request.to_program(), self._check, output_fd=writing_fd, opens=[Path(self._request.path)]
            )
            self._process.__enter__()
        finally:
            os.close(writing_fd)

    def _end(self) -> None:
        self._process.__exit__(None, None, None)

    def finish(self) -> None:
        """Wait for the end of the program, once ffmpeg has ended; raises ServiceError if it failed."""
        if self._process.wait() != 0:
            raise self._process.failure(ErrorCode.ENCODE_FAILED, "The sound could not be decoded to its end.")
