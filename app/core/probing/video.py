"""Facts of the video or still picture in one file; runs in the probing child process.

Headers are not trusted: all packets are read, counted and timed, and the first frame is decoded.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from PIL import Image, ImageOps

from app.core.errors import ErrorCode, InputError
from app.core.probing.demux import first_frame, format_of, open_media, packets, picture_stream, size_and_hash, too_long
from app.core.probing.frame_rate import STILL_RATE, find_cadence
from app.core.probing.limits import Limits
from app.core.probing.sniff import PICTURE_FORMATS

MIN_SIDE_PX: Final = 32  # a smaller picture cannot hold a face of 24 px
MIN_PRESENT: Final = 0.9  # share of the frames named in the header that must be in the file


def probe_video(path: Path, limits: Limits) -> dict[str, Any]:
    """Return the fields of VideoFacts as a dict; raises InputError."""
    name = format_of(path, ErrorCode.VIDEO_UNREADABLE)
    facts = _still_facts(path, name, limits) if name in PICTURE_FORMATS else _moving_facts(path, name, limits)
    _check_size(facts["width"], facts["height"], limits)
    return facts | size_and_hash(path)


def _still_facts(path: Path, name: str, limits: Limits) -> dict[str, Any]:
    Image.MAX_IMAGE_PIXELS = None  # our own limit is checked instead, before a pixel is decoded
    try:
        with Image.open(path, formats=[name.upper()]) as image:
            _check_size(*image.size, limits)
            turn = {3: 180, 6: 90, 8: 270}.get(image.getexif().get(0x0112, 1), 0)
            upright = ImageOps.exif_transpose(image)  # decodes the whole picture
            width, height = upright.size
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise InputError(ErrorCode.VIDEO_UNREADABLE, "The picture is damaged or incomplete.") from error
    return {
        "kind": "image",
        "format": name,
        "codec": name,
        "width": width,
        "height": height,
        "fps": str(STILL_RATE),
        "frames": 1,
        "duration_s": float(1 / STILL_RATE),
        "rotation": turn,
        "variable_frame_rate": False,
        "has_audio": False,
    }


def _moving_facts(path: Path, name: str, limits: Limits) -> dict[str, Any]:
    pts, last_duration, promised = [], 0, 0.0
    key_frame, interval = 0, 0  # number of the last key frame, most frames from one to the next
    with open_media(path, name, ErrorCode.VIDEO_UNREADABLE) as container:
        stream = picture_stream(container)
        time_base = Fraction(stream.time_base or Fraction(1, 90000))
        hints = [Fraction(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
        promised = max(stream.frames, 0)
        count, last = 0, None
        for packet in packets(container, stream):
            if packet.is_keyframe:
                interval, key_frame = max(interval, count - key_frame), count
            count += 1
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is not None and not packet.is_discard:
                pts.append(stamp)
                if last is None or stamp >= last:
                    last, last_duration = stamp, packet.duration or 0
            if count > limits.max_frames:
                message = f"The video has more than {limits.max_frames} frames, which is more than may be in a video."
                raise InputError(ErrorCode.FRAME_LIMIT_EXCEEDED, message)
        has_audio = bool(container.streams.audio)
        picture = probe_picture(path, limits)
    if promised and count < MIN_PRESENT * promised:
        message = f"The video is incomplete: {count} of {promised} frames are there."
        raise InputError(ErrorCode.VIDEO_UNREADABLE, message)
    # frames before the first one that can be decoded are never shown
    shown = [stamp for stamp in pts if picture["start_pts"] is None or stamp >= picture["start_pts"]]
    pts = shown if len(shown) > count // 2 else pts
    if len(pts) < count // 2:  # a stream without timestamps runs at the frame rate that its header names
        step = 1 / ((hints or [STILL_RATE])[0] * time_base)
        pts = [round(i * step) for i in range(count)]
    cadence = find_cadence(pts, last_duration, time_base, hints)
    duration_s = float(cadence.frames / cadence.rate)
    if duration_s > limits.max_duration_s:
        raise too_long("video", duration_s, limits)
    if cadence.rate > limits.max_fps:
        message = f"The video runs at {float(cadence.rate):.4g} frames a second; {limits.max_fps:g} are allowed."
        raise InputError(ErrorCode.FRAME_LIMIT_EXCEEDED, message)
    return {
        "kind": "image" if cadence.frames == 1 else "video",
        "format": name,
        "codec": picture["codec"],
        "width": picture["width"],
        "height": picture["height"],
        "fps": str(cadence.rate),
        "frames": cadence.frames,
        "duration_s": duration_s,
        "rotation": picture["rotation"],
        "variable_frame_rate": cadence.variable,
        "has_audio": has_audio,
        "keyframe_interval": max(interval, count - key_frame),
    }


def probe_picture(path: Path, limits: Limits) -> dict[str, Any]:
    """Decode the first frame of a video; return what a correct decoder needs (PictureFacts) and more, as a dict.

    Raises InputError.
    """
    name = format_of(path, ErrorCode.VIDEO_UNREADABLE)
    with open_media(path, name, ErrorCode.VIDEO_UNREADABLE) as container:
        stream = picture_stream(container)
        context = stream.codec_context
        if context.width * context.height > limits.max_pixels:
            _check_size(context.width, context.height, limits)
        frame = first_frame(container, stream)
        sar = Fraction(stream.sample_aspect_ratio or context.sample_aspect_ratio or 1)
        if not Fraction(1, 8) <= sar <= 8:
            sar = Fraction(1)
        # the direction with finer pixels keeps its size, the other one is stretched to make pixels square
        width = round(frame.width * sar) if sar > 1 else frame.width
        height = round(frame.height / sar) if sar < 1 else frame.height
        rotation = -frame.rotation % 360
        return {
            "codec": context.codec.canonical_name,
            "width": height if rotation in (90, 270) else width,
            "height": width if rotation in (90, 270) else height,
            "rotation": rotation,
            "start_pts": frame.pts,
            "time_base": str(Fraction(stream.time_base or 1)),
            "interlaced": bool(frame.interlaced_frame),
            "rgb": bool(frame.format.is_rgb or frame.format.has_palette),
            "alpha": _has_alpha(stream, frame),
            "matrix": int(frame.colorspace),
            "primaries": int(frame.color_primaries),
            "transfer": int(frame.color_trc),
        }


def _has_alpha(stream: av.VideoStream, frame: av.VideoFrame) -> bool:
    """Return whether the frames have an alpha channel; that of VP8 and VP9 lies beside the stream (`alpha_mode`)."""
    beside = {name.lower(): value for name, value in stream.metadata.items()}.get("alpha_mode") == "1"
    kept = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    return bool(kept or beside)


def _check_size(width: int, height: int, limits: Limits) -> None:
    size = f"The picture is {width}x{height} pixels"
    if width * height > limits.max_pixels:
        message = f"{size}; at most {limits.max_pixels} pixels are allowed."
        raise InputError(ErrorCode.RESOLUTION_EXCEEDED, message)
    if min(width, height) < MIN_SIDE_PX:
        raise InputError(ErrorCode.NO_FACE_DETECTED, f"{size}: too small to hold a face.")
