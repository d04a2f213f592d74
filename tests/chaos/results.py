"""Check of a result: all of it is decoded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np

AUDIBLE: Final = 0.003  # of full scale
LONGEST_SILENCE_S: Final = 2.0  # the sample's voice never pauses for longer


def faults_of(path: Path, frames: int, rate: Fraction) -> list[str]:
    """Return what is wrong with a result that should have so many frames; an empty list if nothing is."""
    try:
        return [*_picture_faults(path, frames, rate), *_sound_faults(path, frames / rate)]
    except (av.FFmpegError, IndexError) as error:
        return [f"cannot be decoded: {type(error).__name__}"]


def _picture_faults(path: Path, frames: int, rate: Fraction) -> list[str]:
    faults, count = [], 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        time_base = Fraction(stream.time_base or 1)
        for frame in container.decode(stream):
            if frame.pts is None or frame.pts * time_base != count / rate:
                faults.append(f"frame {count} is at {frame.pts} of {time_base} s")
                break
            count += 1
        if container.metadata.get("synthetic") != "lip-sync":
            faults.append("is not marked as synthetic")
    return faults if count == frames or faults else [f"has {count} frames, not {frames}"]


def _sound_faults(path: Path, duration_s: Fraction) -> list[str]:
    """Return an error if the sound has a gap, another length than the picture, or a long silence."""
    samples, rate_hz, quiet, longest_quiet = 0, 1, 0, 0
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        for frame in container.decode(stream):
            rate_hz = frame.sample_rate
            at = round((frame.pts or 0) * Fraction(frame.time_base or 1) * rate_hz)
            if abs(at - samples) > 1:
                return [f"sound jumps from sample {samples} to {at}"]
            samples += frame.samples
            audible = float(np.abs(frame.to_ndarray()).max()) > AUDIBLE
            quiet = 0 if audible else quiet + frame.samples
            longest_quiet = max(longest_quiet, quiet)
    if abs(samples / rate_hz - duration_s) > 0.05:
        return [f"sound lasts {samples / rate_hz:.3f} s, not {float(duration_s):.3f} s"]
    if longest_quiet > LONGEST_SILENCE_S * rate_hz:
        return [f"sound is silent for {longest_quiet / rate_hz:.1f} s"]
    return []
