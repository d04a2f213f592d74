"""Clips that several tests share, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.clips import portrait, write_clip, write_voice
from worker.faces.detect import FaceDetector


@pytest.fixture(scope="session")
def detector() -> Iterator[FaceDetector]:
    with FaceDetector() as one:
        yield one


@pytest.fixture(scope="session")
def media_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="session")
def moving_clip(media_dir: Path) -> Path:
    """100 frames at 25 a second: a face that drifts to the right, with B-frames and a key frame each second."""
    return write_clip(media_dir / "moving.mp4", (portrait(shift=i * 0.4) for i in range(100)))


@pytest.fixture(scope="session")
def short_clip(media_dir: Path) -> Path:
    """20 frames at 25 a second."""
    return write_clip(media_dir / "short.mp4", (portrait(shift=i * 0.5) for i in range(20)))


@pytest.fixture(scope="session")
def gap_clip(media_dir: Path) -> Path:
    """40 frames at 25 a second with a grey card from frame 14 to 26."""
    frames = (portrait(shift=i * 0.5, blank=14 <= i < 26) for i in range(40))
    return write_clip(media_dir / "gap.mp4", frames)


@pytest.fixture(scope="session")
def voice(media_dir: Path) -> Path:
    """1.2 s of sound: a buzz from 0.2 to 0.9 s."""
    return write_voice(media_dir / "voice.wav", [(0.2, 0.9)], 1.2)
