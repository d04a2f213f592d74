"""The list of allowed formats and decoders, against the FFmpeg inside PyAV and the ffmpeg program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import pytest

from app.core.errors import ErrorCode, InputError
from app.core.probing.allowed import DECODERS, MAX_STREAMS, SOUND_DECODERS, VIDEO_DECODERS, input_options
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video

FFMPEG = find_ffmpeg(None)
SCENE = ("-f", "lavfi", "-i", "testsrc=s=96x64:r=25:d=0.4")
TONE = ("-f", "lavfi", "-i", "sine=f=300:d=0.4:r=22050")


def made(path: Path, *options: str) -> Path:
    """Return a file that ffmpeg makes."""
    subprocess.run([FFMPEG, "-v", "error", "-y", *options, str(path)], check=True)
    return path


def test_the_names_are_decoders() -> None:
    known = {*av.codecs_available}
    text = subprocess.run([FFMPEG, "-hide_banner", "-decoders"], capture_output=True, text=True, check=True).stdout
    known |= {line.split()[1] for line in text.splitlines() if len(line.split()) > 1}
    elsewhere = {"libvvdec", "libopenjpeg", "libspeex", "libgsm", "libgsm_ms", "libilbc"}  # in other builds of ffmpeg
    assert {*VIDEO_DECODERS, *SOUND_DECODERS} - known <= elsewhere
    assert len({*VIDEO_DECODERS, *SOUND_DECODERS}) == len(VIDEO_DECODERS) + len(SOUND_DECODERS)
    assert " " not in DECODERS


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cinepak.avi", (*SCENE, "-c:v", "cinepak")),
        ("flash_screen.flv", (*SCENE, "-c:v", "flashsv")),
    ],
)
def test_a_rare_video_decoder_is_refused(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    path = made(tmp_path / name, *options)
    with pytest.raises(InputError) as caught:
        probe_video(path, Limits())
    assert caught.value.code == ErrorCode.VIDEO_UNREADABLE
    arguments = [FFMPEG, "-v", "error", "-f", path.suffix[1:]]
    for key, value in input_options(arguments[-1]).items():
        arguments += [f"-{key}", value]
    done = subprocess.run([*arguments, "-i", str(path), "-f", "null", "-"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "whitelist" in done.stderr.lower()


def test_a_rare_sound_decoder_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "voice.flv", *TONE, "-c:a", "adpcm_swf")
    assert probe_audio(path, Limits()).codec == "adpcm_swf"
    path = made(tmp_path / "voice.avi", *TONE, "-c:a", "g723_1", "-ar", "8000", "-ac", "1", "-b:a", "6300")
    with pytest.raises(InputError) as caught:
        probe_audio(path, Limits())
    assert caught.value.code == ErrorCode.AUDIO_UNREADABLE


def test_a_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "film.mkv", *SCENE, "-c:v", "libx264")
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_XXXXX/ISO/AVC"))
    with pytest.raises(InputError) as caught:
        probe_video(path, Limits())
    assert caught.value.code == ErrorCode.VIDEO_UNREADABLE and "stored in a way" in caught.value.message


def test_too_many_streams_are_refused(tmp_path: Path) -> None:
    maps = ["-map", "0:v"] * (MAX_STREAMS + 1)
    path = made(tmp_path / "many.mkv", *SCENE, *maps, "-c:v", "mpeg4", "-frames:v", "1")
    with pytest.raises(InputError) as caught:
        probe_video(path, Limits())
    assert f"more than {MAX_STREAMS} streams" in caught.value.message
