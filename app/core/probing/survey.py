"""One pass over all packets of a video track: their times, their number, and whether the stored picture changes.

Sizes are looked at in a few key frames, evenly spread over the file, and in every key frame that comes with new codec
headers, because a picture can only change its size there. VP8 and VP9 have no separate headers, so more of their key
frames are decoded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from av.bitstream import BitStreamFilterContext

from app.core.errors import ErrorCode, InputError
from app.core.probing.clock import Stamp
from app.core.probing.demux import open_media, packets
from app.core.probing.limits import Limits
from app.core.probing.picture import StoredPicture, turn_of

LOOKS: Final = 16
LOOKS_WITHOUT_HEADERS: Final = 64
MAX_NEW_HEADERS: Final = 64
CODECS_WITHOUT_HEADERS: Final = frozenset({"vp8", "vp9"})


@dataclass
class Survey:
    """What all packets of a video track say.

    hints: frame rates that the container names. promised: number of frames that it names, or 0. stamps: times of the
    packets that are shown, in file order. last_duration: that of the frame shown last, in ticks. pictures: the shapes
    of the picture, as far as it was looked at, each with the number of the stamp from which on it holds. turns: filters
    that make these pictures upright. keyframe_interval: most frames from one key frame to the next.
    read_bytes: end of the last packet in the file.
    """

    time_base: Fraction
    hints: list[Fraction]
    promised: int
    has_audio: bool
    count: int = 0
    stamps: list[Stamp] = field(default_factory=list)
    last_duration: int = 0
    pictures: list[tuple[int, StoredPicture]] = field(default_factory=list)
    turns: set[str] = field(default_factory=set)
    keyframe_interval: int = 0
    read_bytes: int = 0

    @property
    def picture_changes(self) -> bool:
        """Return whether more than one shape was seen."""
        return len({picture for _, picture in self.pictures}) > 1

    def usual_picture(self) -> StoredPicture | None:
        """Return the shape that most packets have, on a tie the one that comes first; None if none could be decoded."""
        lengths: Counter[StoredPicture] = Counter()
        ends = [first for first, _ in self.pictures[1:]] + [len(self.stamps)]
        for (first, picture), end in zip(self.pictures, ends, strict=True):
            lengths[picture] += end - first
        return next(iter(lengths.most_common(1)), (None, 0))[0]


def survey_packets(path: Path, name: str, number: int, limits: Limits) -> Survey:
    """Read all packets of the video stream `number`; raises InputError."""
    with open_media(path, name, ErrorCode.VIDEO_UNREADABLE) as container:
        stream = container.streams.video[[video.index for video in container.streams.video].index(number)]
        survey = Survey(
            Fraction(stream.time_base or Fraction(1, 90000)),
            [Fraction(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate],
            max(stream.frames, 0),
            bool(container.streams.audio),
        )
        looks = _KeyFrameLooks(stream, path.stat().st_size, survey.turns)
        last, key_frame = None, 0
        for packet in packets(container, stream):
            if packet.is_keyframe:
                survey.keyframe_interval = max(survey.keyframe_interval, survey.count - key_frame)
                key_frame = survey.count
            survey.count += 1
            survey.read_bytes = max(survey.read_bytes, (packet.pos or 0) + packet.size)
            shown = packet.pts if packet.pts is not None else packet.dts
            if shown is not None and not packet.is_discard:
                decoded = packet.dts if packet.dts is not None else shown
                survey.stamps.append(Stamp(decoded, shown, packet.is_keyframe))
                if last is None or shown >= last:
                    last, survey.last_duration = shown, packet.duration or 0
            if survey.count > limits.max_frames:
                message = f"The video has more than {limits.max_frames} frames, which is more than may be in a video."
                raise InputError(ErrorCode.FRAME_LIMIT_EXCEEDED, message)
            picture = looks.new_picture(packet)
            if picture is not None:
                survey.pictures.append((max(0, len(survey.stamps) - 1), picture))
    survey.keyframe_interval = max(survey.keyframe_interval, survey.count - key_frame)
    return survey


class _KeyFrameLooks:
    """Decoder of the few key frames that show whether the stored picture changes."""

    def __init__(self, stream: av.VideoStream, file_bytes: int, turns: set[str]) -> None:
        self._stream, self._context, self._turns = stream, stream.codec_context, turns
        self._context.thread_count = 1  # more threads would only delay single frames
        looks = LOOKS_WITHOUT_HEADERS if self._context.name in CODECS_WITHOUT_HEADERS else LOOKS
        self._spacing_bytes, self._next_at = file_bytes // looks, 0
        self._headers, self._new_headers = b"", 0
        self._filter = _headers_filter(stream)
        self._picture: StoredPicture | None = None

    def new_picture(self, packet: av.Packet[Any]) -> StoredPicture | None:
        """Return the shape of the picture of a packet if it is another one than before and if it was looked at."""
        if not packet.is_keyframe or not (self._has_new_headers(packet) or (packet.pos or 0) >= self._next_at):
            return None
        self._next_at = (packet.pos or 0) + self._spacing_bytes
        frame = self._decode(packet)
        if frame is None:
            return None
        self._turns.add(turn_of(frame))
        picture = StoredPicture.of(frame, self._stream)
        is_new, self._picture = picture != self._picture, picture
        return picture if is_new else None

    def _has_new_headers(self, packet: av.Packet[Any]) -> bool:
        found = b""
        if packet.has_sidedata("new_extradata"):
            found = bytes(packet.get_sidedata("new_extradata"))
        elif self._filter is not None:
            found = self._headers_in(packet)
        if not found or found == self._headers or self._new_headers >= MAX_NEW_HEADERS:
            return False
        self._headers, self._new_headers = found, self._new_headers + 1
        return True

    def _headers_in(self, packet: av.Packet[Any]) -> bytes:
        copy = av.Packet(bytes(packet))
        copy.is_keyframe = True
        try:
            filtered = self._filter.filter(copy) if self._filter is not None else []
        except av.FFmpegError:
            return b""
        marked = [one for one in filtered if one.has_sidedata("new_extradata")]
        return bytes(marked[0].get_sidedata("new_extradata")) if marked else b""

    def _decode(self, packet: av.Packet[Any]) -> av.VideoFrame | None:
        try:
            frames = [*self._context.decode(packet), *self._context.decode(None)]
        except (av.FFmpegError, ValueError):
            frames = []
        self._context.flush_buffers()
        return frames[0] if frames else None


def _headers_filter(stream: av.VideoStream) -> BitStreamFilterContext | None:
    """Return the filter that finds codec headers in packets; None for a codec that it does not know."""
    try:
        return BitStreamFilterContext("extract_extradata", stream)
    except (av.FFmpegError, ValueError):
        return None
