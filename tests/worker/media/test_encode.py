from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app.core.checks import never_stop
from app.core.errors import InputError
from app.core.jobs import JobOptions
from app.core.output_path import partial_path
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video
from worker.media.decode import decode, open_source
from worker.media.encode import Encoder, join
from worker.media.sound_feed import PlayedSound


@pytest.mark.parametrize("name", ["12:30.mp4", "-out.mp4", "%03d.mp4", "it's a b.mp4", os.fsdecode(b"\xff\xfe.mp4")])
def test_any_name_is_read_and_written(
    tmp_path: Path, short_clip: Path, voice: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    film, made = Path(name), Path("made") / name
    made.parent.mkdir()
    film.symlink_to(short_clip)
    Path(f"{name}.wav").symlink_to(voice)
    sound = PlayedSound(Path(f"{name}.wav"), probe_audio(voice, Limits()), 0.0)
    source = replace(open_source(film, probe_video(film, Limits()), find_ffmpeg(None), never_stop), path=film)
    options = JobOptions(preset="ultrafast")
    with Encoder(made, source, 5, sound, options, never_stop) as encoder:
        for planes in decode(source, 0, 5, never_stop):
            encoder.write(planes)
        assert encoder.finish().frames == 5
    assert join([made, made], Path(f"joined{name}"), source, 10, sound, options, never_stop).frames == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}.wav", "made", f"joined{name}"])


def test_a_program_that_cannot_start_leaves_nothing(tmp_path: Path, short_clip: Path, voice: Path) -> None:
    source = open_source(short_clip, probe_video(short_clip, Limits()), find_ffmpeg(None), never_stop)
    sound = PlayedSound(voice, probe_audio(voice, Limits()), 0.0)
    broken = replace(source, ffmpeg=str(tmp_path / "missing" / "ffmpeg"))
    (planes,) = decode(source, 0, 1, never_stop)
    with pytest.raises(OSError), Encoder(tmp_path / "made.mp4", broken, 5, sound, JobOptions(), never_stop) as encoder:
        encoder.write(planes)
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_completed_while_the_caller_does_other_things(tmp_path: Path, short_clip: Path) -> None:
    source = open_source(short_clip, probe_video(short_clip, Limits()), find_ffmpeg(None), never_stop)
    made, part = tmp_path / "made.mp4", partial_path(tmp_path / "made.mp4")
    with Encoder(made, source, 5, None, JobOptions(preset="ultrafast"), never_stop) as encoder:
        for planes in decode(source, 0, 5, never_stop):
            encoder.write(planes)
        encoder.end_input()
        for _ in range(600):
            with contextlib.suppress(InputError):  # not complete yet
                if probe_video(part, Limits()).frames == 5:
                    break
            time.sleep(0.1)
        else:
            pytest.fail("nothing completes the file before `finish`")
        assert encoder.finish().bytes == made.stat().st_size
