from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.errors import ErrorCode, InputError
from app.core.jobs import AudioFacts
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio
from tests.worker.clips import LIMITS, portrait, write_clip, write_voice
from worker.media.voice import read_voice


def read(path: Path, folder: Path) -> tuple[AudioFacts, np.ndarray]:
    facts = probe_audio(path, Limits())
    return facts, read_voice(path, facts, folder, never_stop)


@pytest.mark.parametrize(
    ("name", "length_s"),
    [
        ("audio_11k_8bit.wav", 2.0),
        ("audio_192k_24bit.wav", 1.0),
        ("audio_8ch.wav", 1.5),
        ("audio_adpcm_8k.wav", 5.3576),
        ("audio_claims_4gb.wav", 1.0),
        ("audio_float_overload.wav", 2.0),
        ("audio_mp4_named.wav", 3.0),
        ("audio_raw.aac", 5.25),
        ("audio_truncated.mp3", 3.2),
        ("video_start_8s_both.mkv", 3.0),
        ("video_start_8s_both.mp4", 3.0),
        ("video_vp9_opus.webm", 3.0),
    ],
)
def test_every_sound_starts_at_its_first_sample(shared_dir: Path, tmp_path: Path, name: str, length_s: float) -> None:
    facts, samples = read(shared_dir / "media" / "broken" / name, tmp_path)
    assert len(samples) / 16_000 == pytest.approx(length_s, abs=0.08)
    assert facts.duration_s == pytest.approx(length_s, abs=0.12)
    assert samples.dtype == np.int16


def test_the_samples_are_those_of_the_file(tmp_path: Path, voice: Path) -> None:
    _, samples = read(voice, tmp_path)
    stored = np.frombuffer(voice.read_bytes()[44:], "<i2")
    assert np.array_equal(samples, stored)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_other_rates_keep_the_time(tmp_path: Path, rate_hz: int) -> None:
    path = write_voice(tmp_path / "voice.wav", [(0.5, 0.75)], 1.0, rate_hz)
    _, samples = read(path, tmp_path)
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 1000) / 16_000
    assert (loud.min(), loud.max()) == pytest.approx((0.5, 0.75), abs=0.01)


@pytest.mark.parametrize("length_s", [1.0, 2.0, 1.21])
@pytest.mark.parametrize("name", ["voice.m4a", "voice.mp4", "voice.mov"])
def test_the_padding_of_the_last_packet_is_no_sound(tmp_path: Path, name: str, length_s: float) -> None:
    """AAC has whole packets of 1,024 samples; MP4 and MOV say how much of the last one counts."""
    source = write_voice(tmp_path / "voice.wav", [(0.1, 0.9)], length_s, 16_000)
    path = tmp_path / name
    subprocess.run([find_ffmpeg(None), "-v", "error", "-i", source, "-c:a", "aac", path], check=True, timeout=60)
    facts, samples = read(path, tmp_path)
    assert facts.duration_s == pytest.approx(length_s, abs=1e-4) and len(samples) == pytest.approx(
        length_s * 16_000, abs=2
    )


def test_sound_that_cannot_be_decoded_is_an_error(tmp_path: Path, voice: Path) -> None:
    facts = probe_audio(voice, Limits())
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF" + bytes(400))
    with pytest.raises(InputError) as caught:
        read_voice(broken, facts, tmp_path, never_stop)
    assert caught.value.code == ErrorCode.AUDIO_UNREADABLE


@pytest.mark.parametrize("container", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize(("video_s", "audio_s"), [(0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (8.0, 8.2)])
def test_the_sound_of_a_film_starts_where_its_picture_does(
    tmp_path: Path, container: str, video_s: float, audio_s: float
) -> None:
    """A buzz that starts 0.6 s into the sound keeps its position relative to the picture."""
    voice, film = write_voice(tmp_path / "v.wav", [(0.6, 1.0)], 1.6), tmp_path / f"film.{container}"
    picture = write_clip(tmp_path / "p.mp4", [portrait(96, 96)] * 40)
    parts = ["-itsoffset", str(video_s), "-i", str(picture), "-itsoffset", str(audio_s), "-i", str(voice)]
    codecs = ["-c:v", "copy", "-c:a", "aac", "-copyts", "-muxdelay", "0", "-muxpreload", "0"]
    subprocess.run([find_ffmpeg(None), "-v", "error", "-y", *parts, *codecs, str(film)], check=True)
    facts = probe_audio(film, LIMITS)
    samples = read_voice(film, facts, tmp_path, never_stop, facts.start_s)
    starts_s = float(np.argmax(np.abs(samples.astype(int)) > 2000) / 16_000)
    assert starts_s == pytest.approx(0.6 + audio_s - video_s, abs=0.03)
