"""Do the lips follow the voice? Measured on what the default weights draw, by the face mesh, in template units."""

from __future__ import annotations

import itertools
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from app.core.settings import Settings
from lipsync.sample import VOICE, portrait
from model.checkpoint_config import default_checkpoint
from model.framing import LOWER_FACE
from worker.faces.crop import face_transform
from worker.faces.detect import FaceDetector, mouth_size
from worker.one_clip import ClipFiles, sync_clip

pytestmark = pytest.mark.skipif(not default_checkpoint().is_file(), reason="no weights in the package")


def mouths(path: Path) -> np.ndarray:
    """Return lip aperture and mouth width of every frame, (T, 2)."""
    found = []
    with FaceDetector() as detector, av.open(str(path)) as container:
        for frame in container.decode(video=0):
            faces = detector.detect(frame.to_ndarray(format="rgb24").astype(np.uint8))
            landmarks = max(faces, key=lambda face: face.height_px).landmarks
            found.append(np.array(mouth_size(landmarks)) * face_transform(landmarks, LOWER_FACE, 96).scale)
    return np.array(found) * LOWER_FACE.side / 96


def speak(folder: Path, face: Path, voice: Path, name: str, **options: str) -> np.ndarray:
    output = folder / f"{name}.mp4"
    sync_clip(Settings(), ClipFiles(face, voice), output, options)
    return mouths(output)


def mouth_change(path: Path) -> np.ndarray:
    """Return how far the sample's mouth is from its first look in each frame, in grey levels, (T,).

    The mesh reads her wide smile badly; the picture itself does not lie.
    """
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    boxes = np.stack([frame[105:170, 185:255].astype(np.float64) for frame in frames])
    return np.abs(boxes - boxes[:3].mean(axis=0)).mean(axis=(1, 2))


def loudness(path: Path, frames: int) -> np.ndarray:
    """Return the level of each frame's stretch of a 16 kHz mono voice."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float64)
    return np.array([samples[i * 640 : (i + 1) * 640].std() for i in range(frames)])


@pytest.fixture
def silence(tmp_path: Path) -> Path:
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 16000 * 2))
    return path


@pytest.mark.timeout(900)  # two clips through the whole network
def test_the_sample_speaks_with_the_voice_and_rests_in_silence(tmp_path: Path, silence: Path) -> None:
    face = tmp_path / "face.png"
    portrait().save(face)
    spoken = speak(tmp_path, face, VOICE, "spoken")
    rested = speak(tmp_path, face, silence, "rested")
    assert spoken.std(axis=0).max() > 4 * rested.std(axis=0).max()
    change = mouth_change(tmp_path / "spoken.mp4")
    assert change.mean() > 1.5
    assert np.corrcoef(change, loudness(VOICE, len(change)))[0, 1] > 0.2


@pytest.mark.slow
def test_real_talkers_driven_by_their_own_voice_open_when_they_did(tmp_path: Path, shared_dir: Path) -> None:
    clips = sorted((shared_dir / "media" / "clips").glob("grid_*.mpg"))
    own: list[float] = []
    strange: list[float] = []
    for clip, other in zip(clips, itertools.islice(itertools.cycle(clips), 1, None), strict=False):
        filmed = mouths(clip)[:, 0]
        for voice, results in ((clip, own), (other, strange)):
            drawn = speak(tmp_path, clip, voice, "drawn")[:, 0]
            length = min(len(drawn), len(filmed))
            results.append(np.corrcoef(drawn[:length], filmed[:length])[0, 1])
    assert np.median(own) > np.median(strange) + 0.15
