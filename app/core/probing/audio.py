"""Facts of the sound in one file; runs in the probing child process.

The whole sound is decoded, as it will be later, so its length is counted and not claimed.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av

from app.core.errors import ErrorCode, InputError
from app.core.probing.demux import first_frame, format_of, open_media, picture_stream, size_and_hash, too_long
from app.core.probing.limits import Limits
from app.core.probing.sniff import PICTURE_FORMATS
from app.core.probing.sound_reader import Reading, read_sound, tracks_in_order

MIN_VOICE_S: Final = 0.1
# Formats whose timestamps count from a zero that means something. In those that can be cut out of a broadcast while it
# runs, only a short delay does.
WITH_ZERO: Final = frozenset({"matroska", "mov", "avi", "mxf"})
CUT_FROM_BROADCAST: Final = frozenset({"ogg", "flv", "asf"})
LONGEST_BROADCAST_DELAY_S: Final = 60.0
PACKED_FLOATS: Final = ("flt", "dbl")
PROMISING: Final = frozenset({"mov", "matroska", "flac"})  # formats whose duration is a fact and no guess
LEAST_MISSING_S: Final = 0.5
LEAST_MISSING: Final = 0.1  # as a share of what is there
PADDING_S: Final = 0.15  # encoders put up to this much before the first sample; it is no delay


def probe_audio(path: Path, limits: Limits, sha256: str | None = None) -> dict[str, Any]:
    """Return the fields of AudioFacts as a dict; raises InputError. sha256: of the file, if it is known."""
    name = format_of(path, ErrorCode.AUDIO_UNREADABLE)
    if name in PICTURE_FORMATS:
        raise InputError(ErrorCode.AUDIO_STREAM_MISSING, "The file given as sound is a picture.")
    with open_media(path, name, ErrorCode.AUDIO_UNREADABLE) as container:
        order = tracks_in_order(container)
    if not order:
        raise InputError(ErrorCode.AUDIO_STREAM_MISSING, "The file given as sound has no audio track.")
    for track in order:
        facts = _facts_of_track(path, name, track, limits)
        if facts is not None:
            break
    else:
        raise InputError(ErrorCode.AUDIO_UNREADABLE, "The sound cannot be decoded.")
    if facts["duration_s"] < MIN_VOICE_S:
        message = f"The sound lasts {facts['duration_s']:.3f} s; at least {MIN_VOICE_S:g} s are needed."
        raise InputError(ErrorCode.AUDIO_TOO_SHORT, message)
    choice = "default" if track == order[0] and track > 0 else "first" if track == order[0] else "readable"
    return facts | {"format": name, "tracks": len(order), "track_choice": choice} | size_and_hash(path, sha256)


def _facts_of_track(path: Path, name: str, track: int, limits: Limits) -> dict[str, Any] | None:
    """Return the facts of one audio track, None if it cannot be decoded; raises InputError."""
    reading, codec, rate_hz, channels = Reading(), "", 0, 0
    for _, frame in read_sound(path, name, track, reading):
        rate_hz, channels = max(rate_hz, frame.sample_rate), max(channels, frame.layout.nb_channels)
        if reading.length_s > limits.max_duration_s:
            raise too_long("sound", None, limits)  # the reading stops here, so the length is not known
        if frame.format.name in PACKED_FLOATS and not _is_finite(frame):  # only stored floats are packed
            raise InputError(ErrorCode.AUDIO_UNREADABLE, "The sound holds values that are not numbers.")
    if not rate_hz and reading.packets:
        return None
    start_s = 0.0
    with open_media(path, name, ErrorCode.AUDIO_UNREADABLE) as container:
        context = container.streams.audio[track].codec_context
        if context is None or not context.sample_rate:
            return None
        codec, rate_hz, channels = context.codec.canonical_name, rate_hz or context.sample_rate, max(channels, 1)
        if reading.first_s is not None:
            start_s = _start_s(container, name, reading.first_s, limits)
        missing_s = _missing_s(container, name, track, reading.length_s + max(0.0, start_s))
    duration_s = round(reading.length_s + max(0.0, start_s), 6)  # counting leaves errors of rounding
    if duration_s > limits.max_duration_s:
        raise too_long("sound", duration_s, limits)
    return {
        "codec": codec,
        "sample_rate_hz": rate_hz,
        "channels": channels,
        "duration_s": duration_s,
        "track": track,
        "start_s": start_s,
        "is_joined": reading.is_joined,
        "damaged_s": round(reading.damaged_s, 6),
        "missing_s": missing_s,
    }


def _missing_s(container: av.container.InputContainer, name: str, track: int, length_s: float) -> float:
    """Return the seconds of sound that the file promises beyond what is there; 0 if it is about complete."""
    if name not in PROMISING or not container.duration:
        return 0.0
    stream, promised_s = container.streams.audio[track], container.duration / av.time_base
    if stream.duration and stream.time_base:
        promised_s = min(promised_s, float(stream.duration * stream.time_base))
    elif len(container.streams) > 1:  # the duration may be that of another stream
        return 0.0
    missing_s = promised_s - length_s
    return round(missing_s, 6) if missing_s > max(LEAST_MISSING_S, LEAST_MISSING * length_s) else 0.0


def _start_s(container: av.container.InputContainer, name: str, first_s: float, limits: Limits) -> float:
    """Return when a sound whose first timestamp is first_s begins, counted from its picture, or else from its file."""
    # an AVI has no timestamps but those of decoding, which begin with the sound
    picture_s = 0.0 if name == "avi" and container.streams.video else _picture_start_s(container, limits)
    if picture_s is not None:
        return first_s - picture_s
    is_delay = name in WITH_ZERO or (name in CUT_FROM_BROADCAST and first_s <= LONGEST_BROADCAST_DELAY_S)
    return first_s if is_delay and first_s > PADDING_S else 0.0


def _picture_start_s(container: av.container.InputContainer, limits: Limits) -> float | None:
    """Return the timestamp of the first picture of a film, None for a file without pictures that can be decoded."""
    try:
        stream = picture_stream(container)
        if stream.codec_context.width * stream.codec_context.height > limits.max_pixels:
            return None
        frame = first_frame(container, stream)
    except (InputError, AttributeError):  # without a picture, or of an unknown codec, which has no context
        return None
    return None if frame.pts is None else float(frame.pts * Fraction(stream.time_base or 1))


def _is_finite(frame: av.AudioFrame) -> bool:
    """Return whether a frame of floats has neither NaN nor infinity; either would make the sum not finite."""
    wide = "dbl" in frame.format.name
    values = frame.samples * frame.layout.nb_channels
    data = memoryview(bytes(frame.planes[0])[: values * (8 if wide else 4)])
    return math.isfinite(sum(data.cast("d") if wide else data.cast("f")))
