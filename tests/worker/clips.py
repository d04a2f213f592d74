"""Clips for the tests of the worker, made from a public-domain portrait, and a monitor that records a run."""

from __future__ import annotations

import math
import subprocess
import wave
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

from app.core.jobs import JobInput
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video
from model.arrays import U8
from worker.faces.detect import DetectorPool
from worker.pipeline.run_context import Sources

LIMITS = Limits()
DETECTORS = DetectorPool()


def portrait(width: int = 320, height: int = 320, shift: float = 0.0, blank: bool = False) -> U8:
    """Return the portrait (height, width, 3) RGB, moved right by `shift` pixels, or a grey card."""
    if blank:
        return np.full((height, width, 3), 110, np.uint8)
    matrix = np.array([[1.0, 0.0, shift - 60.0], [0.0, 1.0, 20.0]])
    return np.asarray(cv2.warpAffine(astronaut(), matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)


def write_clip(path: Path, frames: Iterable[U8], rate: str = "25", *options: str) -> Path:
    """Encode RGB frames; `options` are output options of ffmpeg."""
    stack = np.stack(list(frames))
    size = f"{stack.shape[2]}x{stack.shape[1]}"
    start = [find_ffmpeg(None), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", rate]
    chosen = options or ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "24", "-pix_fmt", "yuv420p")
    subprocess.run([*start, "-i", "pipe:0", *chosen, str(path)], input=stack.tobytes(), check=True)
    return path


def write_voice(path: Path, bursts_s: Iterable[tuple[float, float]], length_s: float, rate_hz: int = 16_000) -> Path:
    """Write a WAV with a buzz in each (start, end), whose pitch glides as a voice does, and silence otherwise."""
    time_s = np.arange(round(length_s * rate_hz)) / rate_hz
    sound = np.zeros(len(time_s))
    for start_s, end_s in bursts_s:
        inside = (time_s >= start_s) & (time_s < end_s)
        turns = 140 * time_s[inside] - 2 * np.cos(2 * math.pi * 3 * time_s[inside])
        sound[inside] = sum(np.sin(2 * math.pi * k * turns) / k for k in (1, 2, 3, 5, 8))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((sound * 6000).astype("<i2").tobytes())
    return path


def sources_of(video: Path, audio: Path, mix: Path | None = None) -> Sources:
    """Probe the files of a job and return them as its sources."""
    mixed = probe_audio(mix, LIMITS) if mix else None
    facts = JobInput(video=probe_video(video, LIMITS), audio=probe_audio(audio, LIMITS), audio_mix=mixed)
    return Sources(video, audio, mix, facts)


def dubbed_sources(video: Path, *voices: Path) -> Sources:
    """Probe the files of a job whose option `segments` names these voices."""
    facts = probe_video(video, LIMITS)
    film = probe_audio(video, LIMITS) if facts.has_audio else None
    heard = tuple(probe_audio(voice, LIMITS) for voice in voices)
    return Sources(video, None, None, JobInput(video=facts, segments=heard, film_audio=film), voices)


def with_sound(path: Path, film: Path, sound: Path) -> Path:
    """Write a film with another sound."""
    files = ["-i", str(film), "-i", str(sound), "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "pcm_s16le"]
    subprocess.run([find_ffmpeg(None), "-v", "error", "-y", *files, str(path)], check=True)
    return path


@dataclass
class RecordingMonitor:
    """Monitor that records the progress of a run, and raises `stop` once `after_frames` frames are done."""

    stop: Exception | None = None
    after_frames: int = 0
    stages: list[str] = field(default_factory=list)
    progress: list[tuple[int, int]] = field(default_factory=list)

    def stage(self, name: str) -> None:
        """Record a stage."""
        self.stages.append(name)

    def frames(self, done: int, total: int) -> None:
        """Record the progress."""
        self.progress.append((done, total))

    def check(self) -> None:
        """Raise `stop` if it is due."""
        if self.stop is not None and self.progress and self.progress[-1][0] >= self.after_frames:
            raise self.stop
