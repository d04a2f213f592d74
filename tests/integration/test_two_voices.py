"""Two people in one picture are dubbed in one job: each follows the own voice and not the other's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video
from app.core.settings import Settings
from lipsync.commands.options import read_segments
from model.checkpoint_config import default_checkpoint
from model.evaluation.lip_voice import load_model, match_reading
from tests.worker.pipeline.test_render import pictures
from worker.faces.detect import FaceDetector
from worker.faces.lips import read_lips
from worker.faces.subject import choose_subject, find_sparse_faces
from worker.faces.track import tracked_frames
from worker.media.decode import open_source
from worker.media.stage_timer import StageTimer
from worker.media.voice import read_voice
from worker.one_clip import ClipFiles, sync_clip
from worker.pipeline.sync_confidence import LOW_CONFIDENCE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not default_checkpoint().is_file(), reason="no weights in the package"),
]
PEOPLE, VOICES = ("grid_bbaf2n", "grid_lbax4n"), ("lj001_0001", "jfk")  # the talkers' own sentences share a rhythm
LENGTH_S = 5.9  # of the film, in which the talkers speak twice: three seconds are few to measure
MOUTHS = np.s_[160:260, 90:240], np.s_[160:260, 450:600]
SIDE_BY_SIDE = "[0:v]scale=360:288,setsar=1[a];[1:v]scale=360:288,setsar=1[b];[a][b]hstack"


@pytest.fixture(scope="module")
def media(shared_dir: Path) -> Path:
    return shared_dir / "media"


def side_by_side(folder: Path, media: Path, speaker: int) -> Path:
    """Write a film of two talkers, with the sound of one of them."""
    film = folder / f"film{speaker}.mp4"
    clips = [str(media / "clips" / f"{name}.mpg") for name in PEOPLE]
    inputs = [word for clip in clips for word in ("-stream_loop", "1", "-i", clip)]
    coding = ["-map", f"{speaker}:a", "-c:v", "libx264", "-crf", "12", "-c:a", "aac", str(film)]
    command = [find_ffmpeg(None), "-v", "error", "-y", *inputs, "-filter_complex", SIDE_BY_SIDE, *coding]
    subprocess.run(command, check=True)
    return film


def matches(video: Path, face: str, voices: list[Path], folder: Path, detector: FaceDetector) -> list[float]:
    """Return the lip-voice match of one face of a video with each voice."""
    source = open_source(video, probe_video(video, Limits()), find_ffmpeg(None), never_stop)
    timeline = np.arange(source.frames)
    sparse = find_sparse_faces(source, timeline, detector, never_stop)
    chooser = choose_subject(face, [frame.faces for frame in sparse])
    frames = list(tracked_frames(source, timeline, detector, chooser, StageTimer(), never_stop))
    lips = np.array([read_lips(detector.placed_mesh, one.planes, source.colour, one.faces[0]) for one in frames])
    found = []
    for voice in voices:
        samples = read_voice(voice, probe_audio(voice, Limits()), folder, never_stop)
        match = match_reading(load_model(), lips, float(source.rate), np.array(samples))
        assert match is not None
        found.append(match.match)
    return found


def test_each_face_follows_its_own_voice(tmp_path: Path, media: Path) -> None:
    film, output, path = side_by_side(tmp_path, media, 0), tmp_path / "out.mp4", tmp_path / "segments.json"
    files = [media / "speech" / f"{name}.wav" for name in VOICES]
    dubs = [
        {"start_s": 0, "end_s": LENGTH_S, "audio": str(file), "face": f"index:{number}"}
        for number, file in enumerate(files)
    ]
    path.write_text(json.dumps(dubs))
    text, voices = read_segments(path)
    outcome = sync_clip(Settings(), ClipFiles(film, voices=voices), output, {"segments": text})
    assert outcome.report.face_coverage == 1.0
    with FaceDetector() as detector:
        left, right = (matches(output, f"index:{number}", files, tmp_path, detector) for number in (0, 1))
    assert left[0] > LOW_CONFIDENCE and right[1] > LOW_CONFIDENCE, (left, right)
    assert left[1] < 0.15 and right[0] < 0.15, (left, right)


@pytest.mark.parametrize("speaker", [0, 1])
def test_the_one_who_speaks_in_the_film_gets_the_voice(tmp_path: Path, media: Path, speaker: int) -> None:
    film, output = side_by_side(tmp_path, media, speaker), tmp_path / "out.mp4"
    voice = media / "speech" / f"{VOICES[0]}.wav"
    sync_clip(Settings(), ClipFiles(film, voice), output, {"face": "speaking", "end_s": "2.9"})
    filmed, drawn = (np.stack(pictures(path)[:70]).mean(axis=-1) for path in (film, output))
    changes = [float(np.abs(filmed[:, *mouth] - drawn[:, *mouth]).mean()) for mouth in MOUTHS]
    assert changes[speaker] > 2 * changes[1 - speaker], changes
