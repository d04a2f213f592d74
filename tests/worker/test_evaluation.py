"""Lips read from crops by the mesh, videos redrawn by the pipeline, and what cannot be judged."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import LipSyncError
from app.core.media import find_ffmpeg
from app.core.settings import Settings
from model.corpus.transcripts import spoken_words
from model.dataset import CorpusError
from model.evaluate import OWN, REAL, SHUFFLED, evaluate, rows
from model.framing import LOWER_FACE
from model.judges import Judges
from tests.worker.clips import FakeSynthesizer, portrait, write_clip, write_voice
from worker.crop import extract_rgb, face_transform
from worker.detect import FaceDetector, mouth_size
from worker.evaluation import FinishedCase, MeshReader, Request, VideoCase, opened_cases, video_paths


def with_voice(path: Path, picture: Path, voice: Path) -> Path:
    command = [find_ffmpeg(None), "-v", "error", "-y", "-i", str(picture), "-i", str(voice)]
    subprocess.run([*command, "-c:v", "copy", "-c:a", "aac", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def talk(media_dir: Path, short_clip: Path) -> Path:
    """Return 20 frames of a drifting face with a voice."""
    return with_voice(media_dir / "talk.mp4", short_clip, write_voice(media_dir / "talk.wav", [(0.2, 0.6)], 0.8))


def case_of(path: Path, detector: FaceDetector, paint: tuple[int, int, int] | None = None) -> VideoCase:
    return VideoCase(path, Settings(), FakeSynthesizer(paint), detector, True)


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
    filmed = case.film()
    assert filmed.crops.shape[0] == 20 and 96 <= filmed.crops.shape[1] <= 160
    assert filmed.wide is not None and filmed.wide.shape == (20, 224, 224, 3)
    assert len(case.voice) == pytest.approx(0.8 * 16_000, abs=2000)
    same = case.speak(filmed, case.voice)
    assert same is not None and np.isfinite(same.reading.mouth).all()
    assert np.abs(same.crops.astype(int) - filmed.crops[: len(same.crops)]).mean() < 4
    green = case_of(talk, detector, (0, 200, 0)).speak(filmed, case.voice)
    assert green is not None
    half = filmed.crops.shape[1] // 2
    assert np.abs(green.crops.astype(int) - filmed.crops[: len(green.crops)])[:, half:].mean() > 15
    assert len(case.speak(filmed, case.voice[: 8 * 640]).crops) == 8


def test_a_finished_video_is_judged_against_its_film(talk: Path, detector: FaceDetector) -> None:
    case = FinishedCase(talk, talk, Settings(), detector, False)
    found = {row["name"]: row for row in rows(evaluate([case], Judges()), Judges())}
    assert found[REAL]["clips"] == found[OWN]["clips"] == 1 and found[SHUFFLED]["clips"] == 0
    assert found[OWN]["ssim"] == 1.0 and found[OWN]["lmd"] == 0.0 and found[OWN]["psnr"] is None


def test_a_frame_without_a_face_is_unknown_but_has_a_place(media_dir: Path, detector: FaceDetector) -> None:
    frames = [portrait(blank=8 <= i < 14) for i in range(20)]
    path = write_clip(media_dir / "blank.mp4", frames)
    path = with_voice(media_dir / "blank_voice.mp4", path, write_voice(media_dir / "blank.wav", [(0.1, 0.5)], 0.8))
    filmed = case_of(path, detector).film()
    assert np.isnan(filmed.reading.mouth[8:14]).all() and np.isfinite(filmed.reading.mouth[:8]).all()
    assert len(filmed.crops) == 20


@pytest.mark.parametrize(
    ("request_of", "words"),
    [
        (lambda here: Request(), "name either"),
        (lambda here: Request(corpus=here, clips=[here]), "name either"),
        (lambda here: Request(results=[here], references=[]), "1 results need as many"),
        (lambda here: Request(clips=[here / "nothing"]), "no file or folder"),
        (lambda here: Request(clips=[here]), "no video"),
        (lambda here: Request(clips=[here / "broken.txt"]), "broken.txt: "),
        (lambda here: Request(corpus=here), "none of them held out"),
        (lambda here: Request(corpus=here / "nothing"), "no folder"),
    ],
)
def test_what_cannot_be_judged_is_told_in_a_sentence(request_of, words: str, tmp_path: Path) -> None:
    (tmp_path / "broken.txt").write_text("no video")
    with pytest.raises((LipSyncError, CorpusError), match=words), opened_cases(Settings(), request_of(tmp_path)):
        pass


def test_a_corrupt_checkpoint_is_told(tmp_path: Path) -> None:
    checkpoint = tmp_path / "bad.safetensors"
    checkpoint.write_bytes(b"\0" * 99)
    settings = Settings(checkpoint=checkpoint)
    with pytest.raises(LipSyncError, match="checkpoint_invalid"), opened_cases(settings, Request(corpus=tmp_path)):
        pass


def test_folders_stand_for_their_videos_in_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MPG", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in video_paths([tmp_path, tmp_path / "c.txt"])] == ["a.MPG", "b.mp4", "c.txt"]


@pytest.mark.parametrize(
    ("name", "beside", "words"),
    [
        ("bbaf2n.mpg", None, "bin blue at f two now"),
        ("grid_swiz3n.mpg", None, "set white in z three now"),
        ("brbk7n.mp4", None, "bin red by k seven now"),
        ("zzzzzz.mp4", None, None),
        ("interview.mp4", None, None),
        ("00001.mp4", "Text:  HELLO AGAIN\nConf: 3\n", "hello again"),
        ("00002.mp4", "", None),
    ],
)
def test_words_come_from_a_text_beside_or_a_grid_name(
    name: str, beside: str | None, words: str | None, tmp_path: Path
) -> None:
    if beside is not None:
        (tmp_path / name).with_suffix(".txt").write_text(beside)
    assert spoken_words(tmp_path / name) == words
