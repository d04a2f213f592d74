"""Facts of the video or still picture in one file; runs in the probing child process.

Headers are not trusted: all packets are read, counted and timed, and the first frame is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageOps

from app.core.errors import ErrorCode, InputError
from app.core.probing.clock import join_parts, split_at_restarts, usual_step
from app.core.probing.demux import format_of, size_and_hash, too_long
from app.core.probing.frame_rate import STILL_RATE, Cadence, find_cadence
from app.core.probing.joined_files import has_unread_film, headers_differ
from app.core.probing.limits import Limits
from app.core.probing.picture import FilmPicture, check_size, find_picture
from app.core.probing.sniff import PICTURE_FORMATS
from app.core.probing.survey import Survey, survey_packets

# What Pillow's plugins raise for damaged pictures; RuntimeError comes from the libraries of AVIF and WebP.
PICTURE_FAULTS: Final = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    MemoryError,
    RuntimeError,
    ArithmeticError,
    LookupError,
)
MIN_PRESENT: Final = 0.9  # share of the frames named in the header that must be in the file


def probe_video(path: Path, limits: Limits, sha256: str | None = None) -> dict[str, Any]:
    """Return the fields of VideoFacts as a dict; raises InputError. sha256: of the file, if it is known."""
    name = format_of(path, ErrorCode.VIDEO_UNREADABLE)
    facts = _still_facts(path, name, limits) if name in PICTURE_FORMATS else _moving_facts(path, name, limits)
    check_size(facts["width"], facts["height"], limits)
    return facts | size_and_hash(path, sha256)


def _still_facts(path: Path, name: str, limits: Limits) -> dict[str, Any]:
    Image.MAX_IMAGE_PIXELS = None  # our own limit is checked instead, before a pixel is decoded
    try:
        with Image.open(path, formats=[name.upper()]) as image:
            check_size(*image.size, limits)
            turn = {3: 180, 6: 90, 8: 270}.get(image.getexif().get(0x0112, 1), 0)
            upright = ImageOps.exif_transpose(image)  # decodes the whole picture
            width, height = upright.size
    except PICTURE_FAULTS as error:
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
    picture = find_picture(path, name, limits)
    survey = survey_packets(path, name, picture.stream, limits)
    if survey.promised and survey.count < MIN_PRESENT * survey.promised:
        message = f"The video is incomplete: {survey.count} of {survey.promised} frames are there."
        raise InputError(ErrorCode.VIDEO_UNREADABLE, message)
    if has_unread_film(path, name, survey.read_bytes):
        message = "The file was joined from several films, of which only a part can be read; send a film that is whole."
        raise InputError(ErrorCode.VIDEO_UNREADABLE, message)
    if headers_differ(path, name, picture.stream):
        message = "The file was joined from films that are encoded in different ways; send its parts alone."
        raise InputError(ErrorCode.VIDEO_UNREADABLE, message)
    if survey.turns - {"", picture.turn}:  # codecs may tell it in the first key frame only
        message = "The film is turned in another way from some frame on, which is not supported; send its parts alone."
        raise InputError(ErrorCode.VIDEO_UNREADABLE, message)
    cadence, parts = _cadence(survey, picture.start_pts, name)
    duration_s = float(cadence.frames / cadence.rate)
    if duration_s > limits.max_duration_s:
        raise too_long("video", duration_s, limits)
    if cadence.rate > limits.max_fps:
        message = (
            f"The video runs at {float(cadence.rate):.7g} frames a second; at most {limits.max_fps:g} are allowed."
        )
        raise InputError(ErrorCode.FRAME_LIMIT_EXCEEDED, message)
    if survey.picture_changes:
        decoding, picture = _changing_facts(picture, survey, parts)
    else:
        decoding = picture.facts()
    width, height = picture.shown_size()
    return {
        "kind": "image" if cadence.frames == 1 else "video",
        "format": name,
        "codec": picture.codec,
        "width": width,
        "height": height,
        "fps": str(cadence.rate),
        "frames": cadence.frames,
        "duration_s": duration_s,
        "rotation": picture.rotation,
        "variable_frame_rate": cadence.variable,
        "has_audio": survey.has_audio,
        "keyframe_interval": survey.keyframe_interval,
        "video_tracks": picture.tracks,
        "clock_restarts": len(parts) - 1,
        "picture_changes": survey.picture_changes,
        "picture": decoding,
    }


def _cadence(survey: Survey, start_pts: int | None, name: str) -> tuple[Cadence, list[list[int]]]:
    """Return the cadence of all frames, and their times on one clock in the parts between its restarts, in ticks."""
    parts = split_at_restarts(survey.stamps, survey.time_base, name)
    if sum(len(part) for part in parts) < survey.count // 2 or not parts:
        # a stream without timestamps runs at the frame rate that its header names
        step = 1 / ((survey.hints or [STILL_RATE])[0] * survey.time_base)
        parts = [[round(i * step) for i in range(survey.count)]]
    step_ticks = usual_step(parts)
    cadence = _cadence_of(join_parts(parts, step_ticks), survey, start_pts)
    if len(parts) > 1:  # the decoder knows the rate only, so the parts are joined by its frames
        step_ticks = round(1 / (cadence.rate * survey.time_base))
        cadence = _cadence_of(join_parts(parts, step_ticks), replace(survey, hints=[cadence.rate]), start_pts)
    return cadence, join_parts(parts, step_ticks)


def _cadence_of(parts: list[list[int]], survey: Survey, start_pts: int | None) -> Cadence:
    times = [time for part in parts for time in part]
    if start_pts is not None:  # frames before the first one that can be decoded are never shown
        shown = [time for time in times if time >= start_pts]
        times = shown if len(shown) > len(times) // 2 else times
    return find_cadence(times, survey.last_duration, survey.time_base, survey.hints)


def probe_picture(path: Path, limits: Limits) -> dict[str, Any]:
    """Decode the first frame of a video; return the fields of PictureFacts as a dict; raises InputError."""
    return find_picture(path, format_of(path, ErrorCode.VIDEO_UNREADABLE), limits).facts()


def probe_changing_picture(path: Path, limits: Limits) -> dict[str, Any]:
    """Do the same for a video whose picture changes: with the shape that most of its frames have, and all aspects.

    Raises InputError.
    """
    name = format_of(path, ErrorCode.VIDEO_UNREADABLE)
    picture = find_picture(path, name, limits)
    survey = survey_packets(path, name, picture.stream, limits)
    return _changing_facts(picture, survey, _cadence(survey, picture.start_pts, name)[1])[0]


def _changing_facts(
    picture: FilmPicture, survey: Survey, parts: Sequence[Sequence[int]]
) -> tuple[dict[str, Any], FilmPicture]:
    """Return the fields of PictureFacts of a picture that changes, and the picture in its usual shape.

    parts: the times of all frames on one clock, in ticks.
    """
    times = [time for part in parts for time in part]
    start = picture.start_pts if picture.start_pts is not None else min(times)
    aspects = [
        (float((times[min(first, len(times) - 1)] - start) * survey.time_base), str(seen.pixel_aspect))
        for first, seen in survey.pictures
    ]
    usual = replace(picture, stored=survey.usual_picture() or picture.stored)
    return usual.facts() | {"aspects": aspects}, usual
