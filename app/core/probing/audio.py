"""Facts of the sound in one file; runs in the probing child process."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av

from app.core.errors import ErrorCode, InputError
from app.core.probing.demux import decode_packet, format_of, open_media, packets, size_and_hash, too_long
from app.core.probing.limits import Limits
from app.core.probing.sniff import PICTURE_FORMATS

MIN_VOICE_S: Final = 0.1


def probe_audio(path: Path, limits: Limits) -> dict[str, Any]:
    """Return the fields of AudioFacts as a dict; raises InputError."""
    name = format_of(path, ErrorCode.AUDIO_UNREADABLE)
    if name in PICTURE_FORMATS:
        raise InputError(ErrorCode.AUDIO_STREAM_MISSING, "The file given as sound is a picture.")
    with open_media(path, name, ErrorCode.AUDIO_UNREADABLE) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            raise InputError(ErrorCode.AUDIO_STREAM_MISSING, "The file given as sound has no audio track.")
        rate_hz, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        duration_s, samples = _measure(container, stream, limits)
        codec = stream.codec_context.codec.canonical_name
    if not rate_hz or not channels or (samples == 0 and duration_s > 0):
        raise InputError(ErrorCode.AUDIO_UNREADABLE, "The sound cannot be decoded.")
    if duration_s < MIN_VOICE_S:
        message = f"The sound lasts {duration_s:.3f} s; at least {MIN_VOICE_S:g} s are needed."
        raise InputError(ErrorCode.AUDIO_TOO_SHORT, message)
    facts = {"format": name, "codec": codec, "sample_rate_hz": rate_hz, "channels": channels, "duration_s": duration_s}
    return facts | size_and_hash(path)


def _measure(container: av.container.InputContainer, stream: av.AudioStream, limits: Limits) -> tuple[float, int]:
    """Return the duration of all packets in seconds, and the number of samples that were decoded.

    Float PCM is decoded to the end, to find values that are not numbers; of any other codec only the first frame is.
    """
    time_base = Fraction(stream.time_base or Fraction(1, 48000))
    is_float_pcm = stream.codec_context.name.startswith("pcm_f")
    first, end, ticks, samples = None, 0, 0, 0
    for packet in packets(container, stream):
        stamp = packet.pts if packet.pts is not None else packet.dts
        duration = packet.duration or 0
        ticks += duration
        if stamp is not None:
            first = stamp if first is None else min(first, stamp)
            end = max(end, stamp + duration)
        if samples == 0 or is_float_pcm:
            for frame in decode_packet(packet):
                samples += frame.samples
                if is_float_pcm and not _is_finite(frame):
                    raise InputError(ErrorCode.AUDIO_UNREADABLE, "The sound holds values that are not numbers.")
        if max(ticks, end - (first or 0)) * time_base > limits.max_duration_s:
            raise too_long("sound", float(max(ticks, end - (first or 0)) * time_base), limits)
    return float((end - first if first is not None and end > first else ticks) * time_base), samples


def _is_finite(frame: av.AudioFrame) -> bool:
    """Return whether a frame of floats has neither NaN nor infinity; either would make the sum not finite."""
    wide = "dbl" in frame.format.name
    values = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
    for plane in frame.planes:
        data = memoryview(bytes(plane)[: values * (8 if wide else 4)])
        if not math.isfinite(sum(data.cast("d") if wide else data.cast("f"))):
            return False
    return True
