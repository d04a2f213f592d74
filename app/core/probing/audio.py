"""Look into the sound of one file, in the child process that looks into it."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av

from app.core.errors import ErrorCode, InputError
from app.core.probing.demux import decoded, format_of, identity, opened, packets, too_long
from app.core.probing.sniff import PICTURE_FORMATS

MIN_VOICE_S: Final = 0.1


def probe_audio(path: Path, limits: dict[str, float]) -> dict[str, Any]:
    """Return AudioFacts as a dict; raises InputError."""
    name = format_of(path, ErrorCode.AUDIO_UNREADABLE)
    if name in PICTURE_FORMATS:
        raise InputError(ErrorCode.AUDIO_STREAM_MISSING, "The file given as sound is a picture.")
    with opened(path, name, ErrorCode.AUDIO_UNREADABLE) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            raise InputError(ErrorCode.AUDIO_STREAM_MISSING, "The file given as sound has no audio track.")
        rate_hz, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        duration_s, samples = _heard(container, stream, limits)
        codec = stream.codec_context.codec.canonical_name
    if not rate_hz or not channels or (samples == 0 and duration_s > 0):
        raise InputError(ErrorCode.AUDIO_UNREADABLE, "The sound cannot be decoded.")
    if duration_s < MIN_VOICE_S:
        message = f"The sound lasts {duration_s:.3f} s; at least {MIN_VOICE_S:g} s are needed."
        raise InputError(ErrorCode.AUDIO_TOO_SHORT, message)
    facts = {"format": name, "codec": codec, "sample_rate_hz": rate_hz, "channels": channels, "duration_s": duration_s}
    return facts | identity(path)


def _heard(
    container: av.container.InputContainer, stream: av.AudioStream, limits: dict[str, float]
) -> tuple[float, int]:
    """Return how long the packets last, and how many samples were decoded: all of plain floats, else a first frame."""
    time_base = Fraction(stream.time_base or Fraction(1, 48000))
    plain_floats = stream.codec_context.name.startswith("pcm_f")
    first, end, ticks, samples = None, 0, 0, 0
    for packet in packets(container, stream):
        stamp = packet.pts if packet.pts is not None else packet.dts
        duration = packet.duration or 0
        ticks += duration
        if stamp is not None:
            first = stamp if first is None else min(first, stamp)
            end = max(end, stamp + duration)
        if samples == 0 or plain_floats:
            for frame in decoded(packet):
                samples += frame.samples
                if plain_floats and not _is_finite(frame):
                    raise InputError(ErrorCode.AUDIO_UNREADABLE, "The sound holds values that are not numbers.")
        if max(ticks, end - (first or 0)) * time_base > limits["max_duration_s"]:
            raise too_long("sound", float(max(ticks, end - (first or 0)) * time_base), limits)
    return float((end - first if first is not None and end > first else ticks) * time_base), samples


def _is_finite(frame: av.AudioFrame) -> bool:
    """Tell whether a float frame holds no NaN and no infinity: either would show in the sum."""
    wide = "dbl" in frame.format.name
    values = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
    for plane in frame.planes:
        data = memoryview(bytes(plane)[: values * (8 if wide else 4)])
        if not math.isfinite(sum(data.cast("d") if wide else data.cast("f"))):
            return False
    return True
