from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.core.errors import ErrorCode, InputError
from app.core.settings import Settings
from tests.worker.clips import write_voice
from worker.one_clip import ClipFiles, sync_clip


@pytest.mark.parametrize("name", ["film.mp4", "link.mp4", "hard.mp4", "voice.mp4", "made.webm", "absent/made.mp4"])
def test_an_output_that_cannot_be_is_refused_before_any_work(
    tmp_path: Path, short_clip: Path, voice: Path, name: str
) -> None:
    film, sound = tmp_path / "film.mp4", tmp_path / "voice.mp4"
    film.write_bytes(short_clip.read_bytes())
    sound.write_bytes(voice.read_bytes())
    (tmp_path / "link.mp4").symlink_to(film)
    (tmp_path / "hard.mp4").hardlink_to(film)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    settings = Settings(checkpoint=tmp_path / "absent.safetensors", ffmpeg="no-such-program")  # work would fail
    with pytest.raises(InputError) as caught:
        sync_clip(settings, ClipFiles(film, sound), tmp_path / name, {})
    assert caught.value.code is ErrorCode.OPTION_INVALID and "output" in caught.value.message
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_part_of_the_output(tmp_path: Path, short_clip: Path, number: signal.Signals) -> None:
    voice, made = write_voice(tmp_path / "long.wav", [(0.0, 60.0)], 60.0), tmp_path / "made.mp4"
    made.write_bytes(b"before")
    words = ["sync", "--video", short_clip, "--audio", voice, "--output", made, "--sync-mode", "loop"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "lipsync", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
        part, deadline = tmp_path / "made.mp4.part", time.monotonic() + 120
        while not part.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        assert part.exists()
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.wav", "made.mp4"]
    assert made.read_bytes() == b"before"
