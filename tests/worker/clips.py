"""Clips and synthesizers for the worker's tests, made from a public-domain portrait and from nothing."""

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
from model.arrays import F32, U8
from model.audio import AROUND_FRAME, MelWindow
from model.framing import LOWER_FACE, Framing
from worker.pipeline.render import Sources

LIMITS = Limits()


def portrait(width: int = 320, height: int = 320, shift: float = 0.0, blank: bool = False) -> U8:
    """Return the portrait (height, width, 3) RGB, moved right by so many pixels, or a grey card."""
    if blank:
        return np.full((height, width, 3), 110, np.uint8)
    matrix = np.array([[1.0, 0.0, shift - 60.0], [0.0, 1.0, 20.0]])
    return np.asarray(cv2.warpAffine(astronaut(), matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)


def write_clip(path: Path, frames: Iterable[U8], rate: str = "25", *options: str) -> Path:
    """Encode RGB frames; the options go to ffmpeg's output."""
    stack = np.stack(list(frames))
    size = f"{stack.shape[2]}x{stack.shape[1]}"
    start = [find_ffmpeg(None), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", rate]
    chosen = options or ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "24", "-pix_fmt", "yuv420p")
    subprocess.run([*start, "-i", "pipe:0", *chosen, str(path)], input=stack.tobytes(), check=True)
    return path


def write_voice(path: Path, bursts_s: Iterable[tuple[float, float]], length_s: float, rate_hz: int = 16_000) -> Path:
    """Write a WAV with a buzzing tone in each (start, end) and silence elsewhere."""
    time_s = np.arange(round(length_s * rate_hz)) / rate_hz
    sound = np.zeros(len(time_s))
    for start_s, end_s in bursts_s:
        inside = (time_s >= start_s) & (time_s < end_s)
        sound[inside] = sum(np.sin(2 * math.pi * 140 * k * time_s[inside]) / k for k in (1, 2, 3, 5, 8))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((sound * 6000).astype("<i2").tobytes())
    return path


def sources_of(video: Path, audio: Path, mix: Path | None = None) -> Sources:
    """Probe two files and bundle them as a job does."""
    mixed = probe_audio(mix, LIMITS) if mix else None
    facts = JobInput(video=probe_video(video, LIMITS), audio=probe_audio(audio, LIMITS), audio_mix=mixed)
    return Sources(video, audio, mix, facts)


@dataclass(frozen=True)
class FakeConfig:
    """What a network for 96-pixel crops asks for."""

    architecture: str = "fake"
    image_size: int = 96
    framing: Framing = LOWER_FACE
    mel_window: MelWindow = AROUND_FRAME
    keeps_detail: bool = False


@dataclass
class FakeSynthesizer:
    """Give crops back as they are, or painted in one colour, and remember how loud each frame was heard."""

    paint: tuple[int, int, int] | None = None
    config: FakeConfig = field(default_factory=FakeConfig)
    batch_size: int = 16
    device_name: str = "cpu"
    heard: list[float] = field(default_factory=list)

    def synthesize(self, crops: U8, mels: F32, references: U8 | None = None) -> U8:
        """Return the crops, painted."""
        window = self.config.mel_window
        assert crops.shape[1:] == (96, 96, 3)
        assert mels.shape == (len(crops), 80, window.columns)
        assert np.isfinite(mels).all()
        own = -window.offset_columns
        self.heard += [float(mel[:, own - 1 : own + 1].mean()) for mel in mels]
        drawn = crops.copy()
        if self.paint is not None:
            drawn[:, round(96 * self.config.framing.hidden_from) :] = self.paint
        return drawn


@dataclass
class Watcher:
    """Hear how a run goes; raise `stop` once so many frames are done."""

    stop: Exception | None = None
    after_frames: int = 0
    stages: list[str] = field(default_factory=list)
    progress: list[tuple[int, int]] = field(default_factory=list)

    def stage(self, name: str) -> None:
        """Note a stage."""
        self.stages.append(name)

    def frames(self, done: int, total: int) -> None:
        """Note progress."""
        self.progress.append((done, total))

    def check(self) -> None:
        """Raise what was asked for."""
        if self.stop is not None and self.progress and self.progress[-1][0] >= self.after_frames:
            raise self.stop
