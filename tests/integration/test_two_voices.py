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
from worker.faces.detect import FaceDetector
from worker.faces.lips import read_lips
from worker.faces.subject import choose_subject, find_sparse_faces
from worker.faces.track import tracked_frames
from worker.media.decode import open_source
from worker.media.stage_timer import StageTimer
from worker.media.voice import read_voice
from worker.one_clip import ClipFiles, sync_clip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not default_checkpoint().is_file(), reason="no weights in the package"),
]
PEOPLE, VOICES = ("grid_bbaf2n", "grid_lbax4n"), ("grid_brbk7n", "grid_swiz3n")
SIDE_BY_SIDE = "[0:v]scale=360:288,setsar=1[a];[1:v]scale=360:288,setsar=1[b];[a][b]hstack"


@pytest.fixture(scope="module")
def clips(shared_dir: Path) -> Path:
    return shared_dir / "media" / "clips"


def side_by_side(folder: Path, clips: Path, speaker: int) -> Path:
    """Write a film of two talkers, with the sound of one of them."""
    film = folder / f"film{speaker}.mp4"
    inputs = [word for name in PEOPLE for word in ("-i", str(clips / f"{name}.mpg"))]
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


def test_each_face_follows_its_own_voice(tmp_path: Path, clips: Path) -> None:
    film, output, path = side_by_side(tmp_path, clips, 0), tmp_path / "out.mp4", tmp_path / "segments.json"
    files = [clips / f"{name}.mpg" for name in VOICES]
    dubs = [
        {"start_s": 0, "end_s": 2.96, "audio": str(file), "face": f"index:{number}"}
        for number, file in enumerate(files)
    ]
    path.write_text(json.dumps(dubs))
    text, voices = read_segments(path)
    outcome = sync_clip(Settings(), ClipFiles(film, voices=voices), output, {"segments": text})
    assert outcome.report.face_coverage == 1.0
    with FaceDetector() as detector:
        left, right = (matches(output, f"index:{number}", files, tmp_path, detector) for number in (0, 1))
    assert left[0] > 0.3 and right[1] > 0.3, (left, right)
    assert left[1] < 0.15 and right[0] < 0.15, (left, right)


@pytest.mark.parametrize("speaker", [0, 1])
def test_the_one_who_speaks_in_the_film_gets_the_voice(tmp_path: Path, clips: Path, speaker: int) -> None:
    film, output = side_by_side(tmp_path, clips, speaker), tmp_path / "out.mp4"
    voice = clips / f"{VOICES[0]}.mpg"
    sync_clip(Settings(), ClipFiles(film, voice), output, {"face": "speaking"})
    with FaceDetector() as detector:
        found = [matches(output, f"index:{number}", [voice], tmp_path, detector)[0] for number in (0, 1)]
    assert found[speaker] > 0.3 and found[1 - speaker] < 0.2, found
