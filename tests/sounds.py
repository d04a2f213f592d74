"""Sounds for tests: a buzz that changes as a voice does, and sounds that are none; (n,) float64 around -1..1."""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path

import numpy as np

from app.core.probing.probe import find_ffmpeg

RATE_HZ = 16_000


def times(length_s: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    return np.arange(round(length_s * rate_hz)) / rate_hz


def buzz(length_s: float, amplitude: float = 0.2, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Return a buzz whose pitch glides and whose strength changes four times a second."""
    at = times(length_s, rate_hz)
    turns = 140 * at - 2 * np.cos(2 * np.pi * 3 * at)
    wave_sum = sum(np.sin(2 * np.pi * k * turns) / k for k in (1, 2, 3, 5, 8))
    return np.asarray(amplitude * (0.6 - 0.4 * np.cos(2 * np.pi * 4 * at)) * wave_sum)


def s16(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(sound * 32767), -32768, 32767).astype(np.int16)


def write_wav(path: Path, channels: list[np.ndarray], rate_hz: int = RATE_HZ) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((len(channels), 2, rate_hz, 0, "NONE", ""))
        file.writeframes(s16(np.stack(channels, axis=1)).tobytes())
    return path


def convert(source: Path, target: Path, *options: str, before: tuple[str, ...] = ()) -> Path:
    """Convert a sound with ffmpeg; `options` are for its output, `before` for its input."""
    command = [find_ffmpeg(None), "-v", "error", "-y", *before, "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True)
    return target


def concatenated(target: Path, *parts: Path) -> Path:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples.astype(np.float64) / 32768)) + 1e-12))
