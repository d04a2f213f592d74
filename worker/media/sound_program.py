"""The program that decodes one sound under limits (a `PythonProgram` of app.core.sandbox.forked).

It writes signed 16-bit samples, channels interleaved, to its standard output: what the network hears, or what the
output plays. Both are read by `app.core.probing.sound_reader`, so they begin and end together.

A run of frames that follow each other with the same rate and channels passes through one resampler. Where a run ends,
the resampler is emptied, and the next run begins at its own sample, after silence if there is a hole.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import av
import av.filter
import av.logging
import numpy as np
from numpy.typing import NDArray

from app.core.errors import InputError
from app.core.probing.confine import confine
from app.core.probing.sound_reader import Reading, read_sound
from app.core.sandbox.forked import PythonProgram
from model.arrays import F32, I16
from worker.media.mix import CancelGuard, are_placed, mix_weights

if TYPE_CHECKING:
    from app.core.jobs import AudioFacts

PROGRAM: Final = "worker.media.sound_program"
BLOCK_S: Final = 0.5  # of sound that is judged at once
LIMITER: Final = "level=disabled:limit=1:attack=5:release=50:latency=1"
SILENCE_SAMPLES: Final = 16_000  # written at once
CANCELED_POWER: Final = 0.01
FAILED: Final = 1
UNSAFE_PLANES: Final = 8  # PyAV looks for a plane beyond the last one of so many, and crashes


@dataclass(frozen=True)
class SoundRequest:
    """Sound to decode: the audio track of a file, and the rate and channels (1 or 2) of the samples.

    begin_s: silence before the first sample; if negative, so much of the sound is left out. end_s: nothing after this
    time is written. is_heard: whether a mix that cancels is replaced, for a network; a listener gets what was mixed.
    file_channels: the most channels that the track has.
    """

    path: str
    format: str
    track: int
    rate_hz: int
    channels: int
    begin_s: float
    end_s: float
    is_heard: bool
    file_channels: int

    @classmethod
    def of(
        cls, path: Path, facts: AudioFacts, *, rate_hz: int, channels: int, begin_s: float, end_s: float, is_heard: bool
    ) -> SoundRequest:
        """Return the request for a file whose sound was probed."""
        track, file_channels = facts.track, facts.channels
        return cls(str(path), facts.format, track, rate_hz, channels, begin_s, end_s, is_heard, file_channels)

    def to_program(self) -> PythonProgram:
        """Return the program that decodes the sound."""
        return PythonProgram(PROGRAM, (json.dumps(asdict(self)),))


def main() -> int:
    """Decode the sound that the argument asks for to standard output; return the exit status."""
    request, output = SoundRequest(**json.loads(sys.argv[1])), sys.stdout.buffer
    confine(cpu_s=int(60 + request.end_s))
    av.logging.set_level(None)
    try:
        decode_sound(request, output)
        output.flush()  # here, because a broken pipe at the exit would be a failure
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    except BrokenPipeError:  # the reader has all that it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
    return 0


def decode_sound(request: SoundRequest, output: IO[bytes]) -> None:
    """Write the samples of a sound; raises InputError."""
    # only for many channels, because it reads the whole sound once more
    gains = _gains_of_unplaced(request) if request.file_channels > 2 and not request.is_heard else {}
    writer, run, time_s = _Writer(request, output), None, 0.0
    for silence_s, frame in read_sound(Path(request.path), request.format, request.track, Reading()):
        kind = frame.sample_rate, frame.layout.name, frame.format.name
        if run is None or silence_s > 0 or kind != run.kind:
            if run is not None:
                writer.write_all(run.finish())
            time_s += silence_s
            writer.go_to(time_s)
            run = _Run(kind, frame, request, gains.get(frame.layout.name))
        time_s += frame.samples / frame.sample_rate
        writer.write_all(run.add(frame))
        if writer.is_full:
            return
    if run is not None:
        writer.write_all(run.finish())


class _Writer:
    """Writer of samples that keeps to the time: it fills up with silence, and leaves out what lies before zero."""

    def __init__(self, request: SoundRequest, output: IO[bytes]) -> None:
        self._output, self._rate_hz, self._channels = output, request.rate_hz, request.channels
        self._begin, self._end = round(request.begin_s * request.rate_hz), round(request.end_s * request.rate_hz)
        self._at, self._skip = min(0, self._begin), 0  # in samples of the output; those before 0 are not written

    @property
    def is_full(self) -> bool:
        """Return whether all wanted samples are written."""
        return self._at >= self._end

    def go_to(self, time_s: float) -> None:
        """Write silence up to a time of the sound, or leave out the next samples that are already written."""
        wanted = self._begin + round(time_s * self._rate_hz)
        self._skip = max(0, self._at - wanted)
        while self._at < min(wanted, self._end):
            count = min(wanted, self._end) - self._at
            self._put(np.zeros((min(count, SILENCE_SAMPLES), self._channels), np.int16))

    def write_all(self, frames: Iterator[av.AudioFrame]) -> None:
        """Write frames of interleaved 16-bit samples."""
        for frame in frames:
            samples = np.asarray(frame.to_ndarray(), np.int16).reshape(-1, self._channels)
            skipped = min(self._skip, len(samples))
            self._skip -= skipped
            self._put(samples[skipped:])

    def _put(self, samples: I16) -> None:
        first, last = max(0, -self._at), max(0, self._end - self._at)
        self._output.write(samples[first:last].astype("<i2").tobytes())
        self._at += len(samples)


class _Run:
    """Frames of one kind that follow each other, on their way to the rate and channels of the request."""

    def __init__(
        self, kind: tuple[int, str, str], frame: av.AudioFrame, request: SoundRequest, weights: F32 | None
    ) -> None:
        self.kind = kind
        names = [channel.name for channel in frame.layout.channels]
        layout = "mono" if request.channels == 1 else "stereo"
        self._weights = mix_weights(names, request.channels) if weights is None else weights
        self._resampler = (
            _LimitedResampler(frame.sample_rate, layout, request.rate_hz)
            if len(names) > 2
            else av.AudioResampler(format="s16", layout=layout, rate=request.rate_hz)
        )
        # the resampler itself mixes stereo to mono; other mixes are made here
        self._mixes = len(names) > 2 or len(names) < request.channels
        guards = request.is_heard and len(names) > 1
        self._guard = CancelGuard(len(names), self._weights) if guards else None
        self._block: list[av.AudioFrame] = []
        self._block_samples = 0

    def add(self, frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
        """Yield what is ready after the next frame."""
        self._block.append(frame)
        self._block_samples += frame.samples
        if self._guard is None or self._block_samples >= BLOCK_S * self.kind[0]:
            yield from self._emptied()

    def finish(self) -> Iterator[av.AudioFrame]:
        """Yield the rest."""
        yield from self._emptied()
        yield from (frame for frame in self._resampler.resample(None) if frame is not None)

    def _emptied(self) -> Iterator[av.AudioFrame]:
        frames, self._block, self._block_samples = self._block, [], 0
        if not frames:
            return
        if self._guard is None and not self._mixes:
            for frame in frames:
                yield from _resampled(self._resampler, frame)
            return
        samples = [channels_of(frame) for frame in frames]
        chosen = None if self._guard is None else self._guard.choose(np.concatenate(samples, axis=1))
        for frame, sound in zip(frames, samples, strict=True):
            if not self._mixes:
                heard = frame if chosen is None else _with_both_sides_alike(frame, chosen)
            elif chosen is None:
                heard = _frame_of(self._weights @ sound, frame)
            else:
                heard = _frame_of(sound[chosen : chosen + 1], frame)
            yield from _resampled(self._resampler, heard)


class _LimitedResampler:
    """Resampler of a mix of many channels, which can be louder than full scale: a limiter turns it down there."""

    def __init__(self, rate_hz: int, layout: str, output_rate_hz: int) -> None:
        self._graph = av.filter.Graph()
        source = self._graph.add("abuffer", f"sample_fmt=fltp:sample_rate={rate_hz}:channel_layout={layout}")
        limiter = self._graph.add("alimiter", LIMITER)
        output = f"sample_fmts=s16:sample_rates={output_rate_hz}:channel_layouts={layout}"
        parts = [source, limiter, self._graph.add("aformat", output), self._graph.add("abuffersink")]
        self._graph.link_nodes(*parts)
        self._graph.configure()

    def resample(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
        """Return what is ready after the next frame, or the rest after None."""
        self._graph.push(frame)
        ready: list[av.AudioFrame] = []
        while True:
            try:
                ready.append(cast(av.AudioFrame, self._graph.pull()))
            except (av.BlockingIOError, av.EOFError):
                return ready


def _resampled(resampler: av.AudioResampler | _LimitedResampler, frame: av.AudioFrame) -> list[av.AudioFrame]:
    frame.pts = None  # the samples are counted: a resampler must not look at timestamps
    return resampler.resample(frame)


def channels_of(frame: av.AudioFrame) -> F32:
    """Return the samples of a frame, (channels, n) float32 with full scale at 1."""
    if frame.format.is_planar and frame.layout.nb_channels >= UNSAFE_PLANES:
        packer = av.AudioResampler(format=frame.format.packed, layout=frame.layout, rate=frame.sample_rate)
        frame = [*packer.resample(frame), *packer.resample(None)][0]
    samples: NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype.kind == "u":
        return (samples.astype(np.float32) - 128) / 128
    full_scale = np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    return np.asarray(samples.astype(np.float32) / full_scale, np.float32)


def _frame_of(samples: F32, like: av.AudioFrame) -> av.AudioFrame:
    layout = "mono" if len(samples) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), "fltp", layout)
    frame.sample_rate = like.sample_rate
    return frame


def _with_both_sides_alike(frame: av.AudioFrame, channel: int) -> av.AudioFrame:
    """Return a stereo frame of the same format whose sides both have one channel of this frame."""
    samples: NDArray[Any] = frame.to_ndarray()
    if frame.format.is_planar:
        alike = samples[[channel, channel]]
    else:
        alike = np.repeat(samples.reshape(-1, 2)[:, channel], 2)[None]
    copy = av.AudioFrame.from_ndarray(np.ascontiguousarray(alike), frame.format.name, frame.layout.name)
    copy.sample_rate = frame.sample_rate
    return copy


def _gains_of_unplaced(request: SoundRequest) -> dict[str, F32]:
    """Return the weights for each layout without known places, which make its mix as loud as its loudest channel."""
    power: dict[str, F32] = {}
    for _, frame in read_sound(Path(request.path), request.format, request.track, Reading()):
        names = [channel.name for channel in frame.layout.channels]
        if len(names) <= 2 or are_placed(names):
            continue
        sound = channels_of(frame)
        both = np.concatenate([sound, mix_weights(names, 1) @ sound])
        power[frame.layout.name] = power.get(frame.layout.name, 0) + np.sum(np.square(both), axis=1, dtype=np.float64)
    return {layout: _weights_as_loud(both, request.channels) for layout, both in power.items()}


def _weights_as_loud(power: F32, outputs: int) -> F32:
    """Return weights (outputs, channels) for channels of such a power, followed by that of their plain mix."""
    channels, mix = power[:-1], float(power[-1])
    loudest = int(np.argmax(channels))
    weights = np.zeros((outputs, len(channels)), np.float32)
    if mix <= CANCELED_POWER / len(channels) * channels[loudest]:  # also where all is silent
        weights[:, loudest] = 1.0
    else:
        weights[:] = np.sqrt(channels[loudest] / mix) / len(channels)
    return weights
