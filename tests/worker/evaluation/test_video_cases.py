"""Lips read from crops by the mesh, and videos redrawn by the pipeline."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import LipSyncError
from app.core.probing.probe import find_ffmpeg
from app.core.settings import Settings
from model.evaluation.evaluate import OWN, REAL, SHUFFLED, evaluate
from model.evaluation.learned_metrics import LearnedMetrics
from model.evaluation.tables import rows
from model.framing import LOWER_FACE
from tests.fake_synthesizer import FakeSynthesizer
from tests.worker.clips import portrait, write_clip, write_voice
from worker.evaluation.video_cases import MeasuringTools, MeshReader, VideoCase, open_finished_case, open_video_case
from worker.faces.crop import extract_rgb, face_transform
from worker.faces.detect import FaceDetector, mouth_size


def with_voice(path: Path, picture: Path, voice: Path) -> Path:
    command = [find_ffmpeg(None), "-v", "error", "-y", "-i", str(picture), "-i", str(voice)]
    subprocess.run([*command, "-c:v", "copy", "-c:a", "aac", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def talk(media_dir: Path, short_clip: Path) -> Path:
    """Return 20 frames of a drifting face with a voice."""
    return with_voice(media_dir / "talk.mp4", short_clip, write_voice(media_dir / "talk.wav", [(0.2, 0.6)], 0.8))


def case_of(path: Path, detector: FaceDetector, paint: tuple[int, int, int] | None = None) -> VideoCase:
    return open_video_case(path, FakeSynthesizer(paint), MeasuringTools(Settings(), detector, wide=True))


@pytest.mark.parametrize("size", [96, 160])
def test_a_crop_shows_the_lips_that_the_frame_shows(size: int, detector: FaceDetector) -> None:
    frame = portrait()
    face = detector.detect(frame)[0]
    transform = face_transform(face.landmarks, LOWER_FACE, size)
    read = MeshReader(detector)(extract_rgb(frame, transform)[None], LOWER_FACE)
    wanted = np.array(mouth_size(face.landmarks)) * transform.scale * LOWER_FACE.side / size
    assert read.lips.shape == (1, 40, 2)
    np.testing.assert_allclose(read.mouth[0], wanted, atol=0.04)
    middle = read.lips[0].mean(axis=0)
    assert abs(middle[0]) < 0.06 and 0.5 < middle[1] < 0.75


def test_a_crop_without_a_face_reads_as_unknown(detector: FaceDetector) -> None:
    read = MeshReader(detector)(np.full((2, 96, 96, 3), 128, np.uint8), LOWER_FACE)
    assert np.isnan(read.mouth).all() and np.isnan(read.lips).all()


def test_a_video_is_redrawn_in_its_own_places(talk: Path, detector: FaceDetector) -> None:
    case = case_of(talk, detector)
    filmed = case.filmed()
    assert filmed.crops.shape[0] == 20 and 96 <= filmed.crops.shape[1] <= 160
    assert filmed.wide is not None and filmed.wide.shape == (20, 224, 224, 3)
    assert len(case.voice) == pytest.approx(0.8 * 16_000, abs=2000)
    same = case.redraw(filmed, case.voice)
    assert same is not None and np.isfinite(same.reading.mouth).all()
    assert np.abs(same.crops.astype(int) - filmed.crops[: len(same.crops)]).mean() < 4
    green = case_of(talk, detector, (0, 200, 0)).redraw(filmed, case.voice)
    assert green is not None
    half = filmed.crops.shape[1] // 2
    assert np.abs(green.crops.astype(int) - filmed.crops[: len(green.crops)])[:, half:].mean() > 15
    short = case.redraw(filmed, case.voice[: 8 * 640])
    assert short is not None and len(short.crops) == 8


def test_a_finished_video_is_judged_against_its_film(talk: Path, detector: FaceDetector) -> None:
    case = open_finished_case(talk, talk, MeasuringTools(Settings(), detector))
    found = {row["name"]: row for row in rows(evaluate([case], LearnedMetrics()), LearnedMetrics())}
    assert found[REAL]["clips"] == found[OWN]["clips"] == 1 and found[SHUFFLED]["clips"] == 0
    assert found[OWN]["ssim"] == 1.0 and found[OWN]["lmd"] == 0.0 and found[OWN]["psnr"] is None


def test_a_frame_without_a_face_is_unknown_but_has_a_place(media_dir: Path, detector: FaceDetector) -> None:
    frames = [portrait(blank=8 <= i < 14) for i in range(20)]
    path = write_clip(media_dir / "blank.mp4", frames)
    path = with_voice(media_dir / "blank_voice.mp4", path, write_voice(media_dir / "blank.wav", [(0.1, 0.5)], 0.8))
    filmed = case_of(path, detector).filmed()
    assert np.isnan(filmed.reading.mouth[8:14]).all() and np.isfinite(filmed.reading.mouth[:8]).all()
    assert len(filmed.crops) == 20


def test_a_result_of_another_size_is_refused(talk: Path, media_dir: Path, detector: FaceDetector) -> None:
    small = write_clip(media_dir / "small.mp4", [portrait(160, 160)] * 5)
    with pytest.raises(LipSyncError, match=r"small\.mp4 differs from talk\.mp4"):
        open_finished_case(small, talk, MeasuringTools(Settings(), detector))


def test_of_a_long_video_the_beginning_is_judged(talk: Path, detector: FaceDetector) -> None:
    case = open_video_case(talk, FakeSynthesizer(), MeasuringTools(Settings(), detector, seconds=0.5))
    filmed = case.filmed()
    assert len(filmed.crops) == 12 and len(case.voice) == 8000
    drawn = case.redraw(filmed, case.voice)
    assert drawn is not None and len(drawn.crops) == 12
