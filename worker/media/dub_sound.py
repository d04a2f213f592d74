"""The sound of an output with dubs: the film's own sound, replaced by a voice wherever a dub has one.

Each sound is decoded by a confined program of its own, which runs only while it is needed. A thread of this process
adds their samples, half a second at a time, and writes the sum into the encoder's ffmpeg. The film fades out within the
first 10 ms of a stretch and comes back within its last 10 ms; a voice that is cut off ends in such a fade. Where the
sum of two voices exceeds full scale, it is turned down for the moment; all other samples stay exactly as decoded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from app.core.checks import Check
from app.core.errors import ErrorCode
from model.arrays import F32
from worker.media.media_process import MediaProcess
from worker.media.sound_feed import Feed, PlayedSound

BLOCK_S: Final = 0.5
FADE_S: Final = 0.01
STEP_S: Final = 0.005  # stretch for which one gain is found
FULL_SCALE: Final = 32768.0


@dataclass(frozen=True)
class DubSound:
    """Voice of a dub. begin_s, end_s: of its stretch, in seconds of the output; both may lie outside of the output."""

    voice: PlayedSound
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class DubbedSound:
    """Sound of an output with dubs.

    film: the film's own sound; None if it has none. skipped_s: how much of the film comes before the output.
    """

    film: PlayedSound | None
    skipped_s: float
    dubs: tuple[DubSound, ...]

    def feed(self, length_s: Fraction, check: Check) -> Feed:
        """Return the feed of so many seconds of the sound."""
        return MixedFeed(self, length_s, check)


class _StoppedError(Exception):
    """Signal to the thread that nobody reads its samples any more."""


class MixedFeed(Feed):
    """Feed of several sounds, which a thread adds up."""

    def __init__(self, sound: DubbedSound, length_s: Fraction, check: Check) -> None:
        film = [] if sound.film is None else [sound.film]
        super().__init__([played.facts for played in (*film, *(dub.voice for dub in sound.dubs))], length_s)
        self._sound, self._check = sound, check
        self._is_stopped = threading.Event()
        self._error: Exception | None = None

    def finish(self) -> None:
        """Wait for the end of the thread; raises what went wrong in it."""
        while self._thread.is_alive():
            self._thread.join(BLOCK_S)
            self._check()
        if self._error is not None:
            raise self._error

    def _start(self, writing_fd: int) -> None:
        self._thread = threading.Thread(target=self._run, args=(writing_fd,), name="sound", daemon=True)
        self._thread.start()

    def _end(self) -> None:
        self._is_stopped.set()
        self._thread.join()

    def _check_stopped(self) -> None:
        if self._is_stopped.is_set():
            raise _StoppedError

    def _run(self, writing_fd: int) -> None:
        try:
            with os.fdopen(writing_fd, "wb", buffering=0) as pipe, closing(self._limited()) as blocks:
                for samples in blocks:
                    rest = memoryview(np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes())
                    while rest:
                        rest = rest[pipe.write(rest) or 0 :]
        except (BrokenPipeError, _StoppedError):  # the reader has all that it wants, or has ended
            return
        except Exception as error:  # noqa: BLE001 (raised again by `finish`)
            self._error = error

    def _limited(self) -> Generator[F32]:
        """Yield the samples of the output, (n, channels) within full scale."""
        guard = PeakGuard(round(STEP_S * self._rate_hz))
        for block in self._mixed():
            yield guard.add(block)
        yield guard.finish()

    def _mixed(self) -> Iterator[F32]:
        """Yield the sums of the sounds, block by block."""
        total, size = round(self._length_s * self._rate_hz), round(BLOCK_S * self._rate_hz)
        size -= size % round(STEP_S * self._rate_hz)
        waiting = sorted(self._sound.dubs, key=lambda dub: dub.begin_s)
        playing: list[_Voice] = []
        with ExitStack() as opened:
            film = None if self._sound.film is None else self._film(opened, self._sound.film)
            for first in range(0, total, size):
                count = min(size, total - first)
                block = np.zeros((count, self._channels), np.float32)
                if film is not None:
                    block += film.read(count) * self._film_gain(first, count)[:, None]
                while waiting and waiting[0].begin_s * self._rate_hz < first + count:
                    playing.append(_Voice(opened, waiting.pop(0), self._stream))
                for voice in playing:
                    voice.add_to(block, first, self._rate_hz)
                playing = [voice for voice in playing if not voice.has_ended]
                yield block

    def _film(self, opened: ExitStack, film: PlayedSound) -> _Stream:
        return self._stream(opened, film, film.begin_s - self._sound.skipped_s, float(self._length_s))

    def _film_gain(self, first: int, count: int) -> F32:
        """Return the gain of the film's own sound in the samples from `first` on, (count,)."""
        times_s = (first + np.arange(count)) / self._rate_hz
        gain = np.ones(count, np.float32)
        for dub in self._sound.dubs:
            inside_s = np.minimum(times_s - dub.begin_s, dub.end_s - times_s)
            gain = np.minimum(gain, np.clip(1.0 - inside_s / FADE_S, 0.0, 1.0)).astype(np.float32)
        return gain

    def _stream(self, opened: ExitStack, sound: PlayedSound, begin_s: float, end_s: float) -> _Stream:
        """Start the program that decodes a sound until `end_s`; begin_s: the silence before it, as in SoundRequest."""
        program = self._request(sound, begin_s, end_s).to_program()
        process = MediaProcess(program, self._check_stopped, reads=True, opens=[sound.path])
        return _Stream(opened.enter_context(process), self._channels)


class _Stream:
    """Samples of one sound, read from the program that decodes it."""

    def __init__(self, process: MediaProcess, channels: int) -> None:
        self._process, self._channels, self._has_ended = process, channels, False

    def read(self, count: int) -> F32:
        """Return the next samples, (count, channels) float32 in units of 16-bit samples; silence after the end."""
        samples = np.zeros((count, self._channels), "<i2")
        if not self._has_ended:
            wanted = samples.nbytes
            self._has_ended = self._process.read_into(samples.data.cast("B")) < wanted
            if self._has_ended and self._process.wait() != 0:
                raise self._process.failure(ErrorCode.ENCODE_FAILED, "The sound could not be decoded to its end.")
        return samples.astype(np.float32)


_StreamStarter = Callable[[ExitStack, PlayedSound, float, float], _Stream]


class _Voice:
    """Voice of a dub that is being read."""

    def __init__(self, opened: ExitStack, dub: DubSound, start: _StreamStarter) -> None:
        self._dub, self.has_ended = dub, False
        self._own = opened.enter_context(ExitStack())
        before_s = min(0.0, dub.begin_s)  # of the voice, which the output does not play
        self._stream = start(self._own, dub.voice, dub.voice.begin_s + before_s, dub.end_s - max(0.0, dub.begin_s))

    def add_to(self, block: F32, first: int, rate_hz: int) -> None:
        """Add the voice to a block (n, channels) whose first sample has the number `first`."""
        begin, end = max(0, round(self._dub.begin_s * rate_hz)), round(self._dub.end_s * rate_hz)
        low, high = max(begin - first, 0), min(end - first, len(block))
        if high > low:
            left = (end - first - np.arange(low, high)) / (FADE_S * rate_hz)
            block[low:high] += self._stream.read(high - low) * np.clip(left, 0.0, 1.0)[:, None].astype(np.float32)
        if end <= first + len(block):
            self.has_ended = True
            self._own.close()


class PeakGuard:
    """Guard that turns samples down where they exceed full scale, without a jump, and changes no others.

    step: number of samples for which one gain is found. Between two steps the gain is a straight line that lies below
    both of their gains, so it is known once the next step is known.
    """

    def __init__(self, step: int) -> None:
        self._step, self._gain = step, 1.0
        self._held: F32 | None = None

    def add(self, block: F32) -> F32:
        """Return the samples (n, channels) that are ready after the next block, whose length is a multiple of the step.

        Only the last block may be shorter.
        """
        block = block if self._held is None else np.concatenate([self._held, block])
        ready = max(0, (len(block) - 1) // self._step * self._step)
        self._held = block[ready:]
        return self._turned_down(block, ready)

    def finish(self) -> F32:
        """Return the last samples."""
        held = np.zeros((0, 1), np.float32) if self._held is None else self._held
        self._held = None
        return self._turned_down(held, len(held))

    def _turned_down(self, block: F32, ready: int) -> F32:
        """Return the first `ready` samples of a block; the gain of the step before it is known."""
        steps = -(-len(block) // self._step)
        if not steps or not ready:
            return block[:ready]
        padded = np.zeros((steps * self._step, block.shape[1]), np.float32)
        padded[: len(block)] = np.abs(block)
        peaks = padded.reshape(steps, -1).max(axis=1)
        gains = np.minimum(1.0, FULL_SCALE / np.maximum(peaks, FULL_SCALE))
        edges = np.minimum(np.append(self._gain, gains), np.append(gains, gains[-1]))
        count = -(-ready // self._step)
        self._gain = float(gains[count - 1])
        if (edges[: count + 1] == 1.0).all():
            return block[:ready]
        at = np.arange(ready) / self._step
        gain = np.interp(at, np.arange(len(edges)), edges)
        return np.asarray(block[:ready] * gain[:, None], np.float32)
