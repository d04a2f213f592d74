from __future__ import annotations

import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.core.probing.probe import Limits, find_ffmpeg
from model.errors import MaterialError
from tests.worker.clips import portrait, write_voice
from worker.training_data.source_media import FACE_MARGIN, FaceCutter, read_sound

CUTTER = FaceCutter()


def _png(path: Path, rgb: np.ndarray) -> Path:
    cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return path


def test_a_box_of_a_frame_is_what_the_frame_shows(moving_clip: Path) -> None:
    cut = CUTTER.cut_face(moving_clip, 40, (50, 20, 120, 100))
    wanted = portrait(shift=16.0)[20:120, 50:170]
    assert cut.shape == wanted.shape
    assert np.abs(cut.astype(int) - wanted).mean() < 4


def test_without_a_box_the_largest_face_is_cut_out(tmp_path: Path) -> None:
    cut = CUTTER.cut_face(_png(tmp_path / "p.png", portrait()), None, None)
    again = CUTTER.cut_face(_png(tmp_path / "c.png", cut), None, None)
    assert cut.shape[0] < 300
    assert again.shape == pytest.approx(cut.shape, abs=0.08 * FACE_MARGIN * cut.shape[0])


@pytest.mark.parametrize(
    ("frame", "box", "sentence"),
    [(100, None, "100 frames, not 101"), (3, (300, 0, 100, 100), "too small for what is cut"), (None, None, "a video")],
)
def test_what_does_not_fit_is_a_sentence(
    moving_clip: Path, frame: int | None, box: tuple[int, int, int, int] | None, sentence: str
) -> None:
    with pytest.raises(MaterialError, match=sentence):
        CUTTER.cut_face(moving_clip, frame, box)


def test_junk_and_faceless_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.png").write_bytes(b"<html>404</html>")
    with pytest.raises(MaterialError, match="not media"):
        CUTTER.cut_face(tmp_path / "junk.png", None, None)
    with pytest.raises(MaterialError, match="no face"):
        CUTTER.cut_face(_png(tmp_path / "grey.png", portrait(blank=True)), None, None)
    with pytest.raises(MaterialError, match="not media"):
        read_sound(tmp_path / "junk.png")


def test_the_limits_that_are_given_count(moving_clip: Path) -> None:
    with pytest.raises(MaterialError, match="at most 1000 pixels"):
        FaceCutter(Limits(max_pixels=1000)).cut_face(moving_clip, 0, None)
    with pytest.raises(MaterialError, match="allowed"):
        read_sound(write_voice(moving_clip.with_name("long.wav"), [], 3.0), Limits(max_duration_s=2.0))


def test_bare_g722_is_read_like_any_other_sound(tmp_path: Path) -> None:
    voice = write_voice(tmp_path / "voice.wav", [(0.2, 0.9)], 1.2)
    coded = tmp_path / "voice.g722"
    subprocess.run([find_ffmpeg(None), "-v", "error", "-i", str(voice), "-f", "g722", str(coded)], check=True)
    plain, decoded = read_sound(voice), read_sound(coded)
    assert abs(len(plain) - len(decoded)) < 400
    loud = [np.abs(sound.astype(float)).reshape(-1, 100).mean(axis=1) for sound in (plain[:19000], decoded[:19000])]
    assert np.corrcoef(loud[0], loud[1])[0, 1] > 0.95
