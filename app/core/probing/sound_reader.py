"""The sound of one file, decoded from its first sample to its last; for the probe and for whatever decodes a sound.

All who use a sound read it here: the probe counts it, the network hears it, and the output plays it. So they agree on
its track, its start and its length. Runs only in child processes with limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import av
from av.stream import Disposition

from app.core.errors import ErrorCode, InputError
from app.core.probing.allowed import MAX_STREAMS, guard_decoders, input_options
from app.core.probing.chain import Part, PartOfFile, find_parts
from app.core.probing.demux import open_media
from app.core.probing.sound_clock import SoundClock

MAX_CHANNELS: Final = 64
MAX_PACKETS_TO_FIRST_SOUND: Final = 1000
RESTARTING: Final = frozenset({"mpegts", "mpeg"})  # broadcast formats: a long hole is a clock that starts again
EXACT_DURATIONS: Final = frozenset({"mov"})  # formats whose last packet is only as long as the sound
STORED_STAMPS: Final = frozenset({"mpegts", "mpeg", "mov", "matroska", "asf", "flv", "mxf", "ogg"})
LONGEST_HOLE_S: Final = 10.0  # in a broadcast format
SETTLING_S: Final = 0.2  # some decoders find the true rate or channels only after their first frames
FOR_FEW: Final = Disposition.comment | Disposition.hearing_impaired | Disposition.visual_impaired


class PlacedFrame(NamedTuple):
    """Decoded frame, and the seconds of silence before it."""

    silence_s: float
    frame: av.AudioFrame


@dataclass
class Reading:
    """What was met while a sound was read: see AudioFacts. first_s: timestamp of the first sample in seconds."""

    first_s: float | None = None
    packets: int = 0
    length_s: float = 0.0
    damaged_s: float = 0.0
    is_joined: bool = False


def tracks_in_order(container: av.container.InputContainer) -> list[int]:
    """Return the numbers of the audio tracks in the order in which players prefer them: the default one first."""
    streams = list(container.streams.audio)

    def key(number: int) -> tuple[bool, bool, int]:
        marks = streams[number].disposition
        return not marks & Disposition.default, bool(marks & FOR_FEW), number

    return sorted(range(len(streams)), key=key)


def read_sound(path: Path, name: str, track: int, reading: Reading) -> Iterator[PlacedFrame]:
    """Yield the decoded frames of an audio track in their order and fill in `reading`.

    The reading ends at the end of the file or at its first damaged place; damaged packets are left out. It also ends
    after MAX_PACKETS_TO_FIRST_SOUND packets of which none can be decoded. Raises InputError.
    """
    clock = SoundClock(LONGEST_HOLE_S if name in RESTARTING else float("inf"), name in STORED_STAMPS)
    kind: tuple[int, str] | None = None
    parts = find_parts(path, name)
    for number, part in enumerate(parts):
        if number:
            clock.start_again()
        for frame in _frames_of_part(path, name, track, part if len(parts) > 1 else None, reading):
            found = frame.sample_rate, frame.layout.name
            if kind is not None and kind != found:
                clock.note_change()
                reading.is_joined |= clock.now_s > SETTLING_S
            kind = found
            stamp_s = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
            if reading.first_s is None:
                reading.first_s = stamp_s or 0.0
            silence_s = clock.place(stamp_s, frame.samples / frame.sample_rate)
            reading.length_s = clock.now_s - (_padding_s(frame) if name in EXACT_DURATIONS else 0.0)
            if silence_s is not None:
                yield PlacedFrame(silence_s, frame)
    reading.is_joined |= len(parts) > 1 or clock.restarts > 0


def _frames_of_part(path: Path, name: str, track: int, part: Part | None, reading: Reading) -> Iterator[av.AudioFrame]:
    """Yield the frames of a part of a file, or of all of it."""
    with _opened(path, name, part) as container:
        if track >= len(container.streams.audio):
            return
        stream = container.streams.audio[track]
        if not stream.codec_context:  # of a codec that is not known
            return
        sounds = False
        for packet in _packets(container, stream):
            reading.packets += bool(packet.size)
            frames = _decoded(packet)
            if frames is None:
                reading.damaged_s += float((packet.duration or 0) * (packet.time_base or 0))
                frames = []
            for frame in frames:
                if frame.samples and frame.sample_rate:
                    if frame.layout.nb_channels > MAX_CHANNELS:
                        message = f"The sound has {frame.layout.nb_channels} channels; at most {MAX_CHANNELS} are read."
                        raise InputError(ErrorCode.AUDIO_UNREADABLE, message)
                    sounds = True
                    yield frame
            if not sounds and reading.packets >= MAX_PACKETS_TO_FIRST_SOUND:
                return


def _padding_s(frame: av.AudioFrame) -> float:
    """Return how much longer a frame is than its packet; after the last frame of a sound it is the codec's padding."""
    if not frame.duration or frame.time_base is None:
        return 0.0
    return max(0.0, frame.samples / frame.sample_rate - float(frame.duration * frame.time_base))


@contextmanager
def _opened(path: Path, name: str, part: Part | None) -> Iterator[av.container.InputContainer]:
    if part is None:
        with open_media(path, name, ErrorCode.AUDIO_UNREADABLE) as container:
            yield container
        return
    with PartOfFile(path, part) as file:
        try:
            container = av.open(file, "r", format=name, options=input_options(name))
        except (av.FFmpegError, ValueError) as error:
            raise InputError(ErrorCode.AUDIO_UNREADABLE, "A part of the joined sound is damaged.") from error
        with container:
            guard_decoders(container)
            if len(container.streams) > MAX_STREAMS:
                raise InputError(ErrorCode.AUDIO_UNREADABLE, f"The file has more than {MAX_STREAMS} streams.")
            yield container


def _packets(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.Packet[Any]]:
    """Yield the packets, and at the end an empty one that brings out the last frames of the decoder."""
    try:
        yield from container.demux(stream)
    except av.FFmpegError:
        return


def _decoded(packet: av.Packet[Any]) -> list[av.AudioFrame] | None:
    """Return the frames of a packet, None if it is damaged or of an unknown codec."""
    try:
        frames: list[Any] = packet.decode()
        return frames
    except (av.FFmpegError, EOFError):
        return None
