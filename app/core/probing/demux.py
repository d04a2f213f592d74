"""Reading of packets and frames of an untrusted file; runs in the probing child process.

The format is recognised from the content and forced, and no protocol but `file` is allowed. At a damaged place the
reading ends without an error, as it does in players.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import av
from av.stream import Disposition

from app.core.errors import ErrorCode, InputError
from app.core.files import file_sha256
from app.core.probing.allowed import MAX_STREAMS, guard_decoders, input_options
from app.core.probing.limits import Limits
from app.core.probing.sniff import HEAD_BYTES, REFERENCE, TEXT, sniff

MAX_PACKETS_TO_FIRST_FRAME: Final = 1000
COVERS: Final = Disposition.attached_pic | Disposition.timed_thumbnails


def format_of(path: Path, unreadable: ErrorCode) -> str:
    """Return the name of the format, recognised from the content; raises InputError with the code `unreadable`."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise InputError(unreadable, "The file is empty.")
    name = sniff(head)
    if name == REFERENCE:
        raise InputError(ErrorCode.MEDIA_PLAYLIST_REFUSED, "The file only names other files; send the media itself.")
    if name == TEXT:
        raise InputError(unreadable, "The file is text, not media.")
    if name is None:
        raise InputError(unreadable, "The file is not of a known media format.")
    return name


def open_media(path: Path, name: str, unreadable: ErrorCode) -> av.container.InputContainer:
    """Open a file with the demuxer of the format `name`; raises InputError with the code `unreadable`."""
    try:
        container = av.open(f"file:{path}", format=name, options=input_options(name))
    except (av.FFmpegError, ValueError) as error:
        raise InputError(unreadable, "The file is damaged or incomplete.") from error
    guard_decoders(container)
    if len(container.streams) > MAX_STREAMS:
        raise InputError(unreadable, f"The file has more than {MAX_STREAMS} streams.")
    return container


def picture_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Return the video streams that are no cover pictures, in the order in which players choose; raises InputError.

    The streams that the file marks as default come first.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & COVERS]
    if not streams:
        raise InputError(ErrorCode.VIDEO_STREAM_MISSING, "The file given as video contains no video.")
    return sorted(streams, key=lambda stream: not stream.disposition & Disposition.default)


def picture_stream(container: av.container.InputContainer) -> av.VideoStream:
    """Return the video stream that players choose; raises InputError."""
    return picture_streams(container)[0]


def packets(
    container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream
) -> Iterator[av.Packet[Any]]:
    """Yield the packets with data, up to the end of the file or its first damaged place."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.FFmpegError:
        return


def first_frame(container: av.container.InputContainer, stream: av.VideoStream) -> av.VideoFrame:
    """Return the first frame that can be decoded; raises InputError if there is none."""
    try:
        for count, packet in enumerate(container.demux(stream)):
            frames: list[av.VideoFrame] = decode_packet(packet)
            if frames:
                return frames[0]
            if count > MAX_PACKETS_TO_FIRST_FRAME:
                break
    except av.FFmpegError as error:
        raise InputError(ErrorCode.VIDEO_UNREADABLE, "The video cannot be decoded.") from error
    raise InputError(ErrorCode.VIDEO_UNREADABLE, "Not one frame of the video can be decoded.")


def decode_packet(packet: av.Packet[Any]) -> list[Any]:
    """Return the frames of a packet; none if it is damaged, as in players."""
    try:
        return list(packet.decode())
    except (av.InvalidDataError, av.ArgumentError):  # the latter: a decoder that refuses to start
        return []


def too_long(what: str, duration_s: float | None, limits: Limits) -> InputError:
    """Return the error for a video or sound (`what`) that lasts too long; duration_s: None if it is not known."""
    most = f"{limits.max_duration_s:g} s"
    message = f"The {what} lasts {duration_s or 0:.0f} s; at most {most} are allowed."
    if duration_s is None or f"{duration_s:.0f} s" == most:  # what is rounded down would look like the limit
        message = f"The {what} lasts longer than {most}, the most that is allowed."
    return InputError(ErrorCode.DURATION_EXCEEDED, message)


def size_and_hash(path: Path, sha256: str | None) -> dict[str, Any]:
    """Return `bytes` and `sha256` of a file, whose hash may be known."""
    return {"bytes": path.stat().st_size, "sha256": sha256 or file_sha256(path)}
