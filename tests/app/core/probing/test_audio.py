"""What the probe finds out about a sound; each kind of file is made here, those of the reference media come beside."""

from __future__ import annotations

import re
import subprocess
import wave
from pathlib import Path

import pytest

from app.core.errors import ErrorCode, InputError
from app.core.jobs import AudioFacts
from app.core.probing.audio import probe_audio
from app.core.probing.limits import Limits
from app.core.probing.probe import find_ffmpeg
from tests.sounds import buzz, concatenated, convert, write_wav

LIMITS = Limits()


def probe(path: Path) -> AudioFacts:
    return AudioFacts.model_validate(probe_audio(path, LIMITS))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a mono sound of one second at 16 kHz."""
    return write_wav(tmp_path_factory.mktemp("sounds") / "one.wav", [buzz(1.0)])


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("chained.opus", "-c:a libopus", "-c:a libopus -ac 2"),
        ("chained.ogg", "-c:a libvorbis", "-c:a libvorbis -ar 44100 -ac 2"),
        ("chained_flac.ogg", "-c:a flac", "-c:a flac -ar 44100"),
        ("chained.flac", "", "-ar 44100 -ac 2"),
        ("chained.wav", "", "-ar 44100 -ac 2"),
        ("rate.mp3", "-ar 24000 -c:a libmp3lame", "-ar 44100 -c:a libmp3lame"),
        ("channels.mp3", "-ar 32000 -c:a libmp3lame", "-ar 32000 -ac 2 -c:a libmp3lame"),
        ("rate.aac", "-ar 24000", "-ar 44100 -ac 2"),
        ("rate.ac3", "-ar 48000", "-ar 44100 -ac 2"),
        ("rate.ts", "-ar 24000 -c:a aac", "-ar 44100 -ac 2 -c:a aac"),
        ("clock.ts", "-ar 44100 -c:a aac", "-ar 44100 -c:a aac"),
        ("clock_later.ts", "-ar 44100 -c:a aac", "-ar 44100 -c:a aac -output_ts_offset 500"),
    ],
)
def test_recordings_that_were_joined_are_read_to_the_end(
    one: Path, tmp_path: Path, name: str, first: str, second: str
) -> None:
    ending = Path(name).suffix
    parts = [convert(one, tmp_path / f"{k}{ending}", *text.split()) for k, text in enumerate([first, second])]
    both, facts = [probe(part) for part in parts], probe(concatenated(tmp_path / name, *parts))
    assert facts.duration_s == pytest.approx(sum(part.duration_s for part in both), abs=0.1)
    assert facts.is_joined and facts.start_s == 0 and facts.damaged_s < 0.1
    assert facts.channels == max(part.channels for part in both)
    assert facts.sample_rate_hz == max(part.sample_rate_hz for part in both)
    assert not any(part.is_joined for part in both)


@pytest.mark.parametrize("name", ["late.mka", "late.m4a", "late.webm", "late.ogg"])
def test_a_late_sound_keeps_its_delay(one: Path, tmp_path: Path, name: str) -> None:
    codec = "aac" if name.endswith(("mka", "m4a")) else "libopus"
    path = convert(one, tmp_path / name, "-c:a", codec, before=("-itsoffset", "2"))
    facts = probe(path)
    assert facts.start_s == pytest.approx(2.0, abs=0.07)  # encoders begin with up to 64 ms of their own
    assert facts.duration_s == pytest.approx(3.0, abs=0.1) and facts.missing_s == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.m4a", "-c:a aac"),
        ("a.mka", "-c:a aac -avoid_negative_ts make_zero"),
        ("a.opus", "-c:a libopus"),
        ("a.mka", "-c:a libopus"),
        ("a.mp3", "-c:a libmp3lame"),
        ("a.mka", "-c:a libmp3lame"),
        ("a.flv", "-c:a aac -ar 44100"),
        ("a.ts", "-c:a aac"),
        ("a.aac", "-c:a aac"),
        ("late.ts", "-c:a aac -output_ts_offset 20"),
        ("late.ogg", "-c:a libopus -output_ts_offset 4000"),
    ],
)
def test_what_an_encoder_puts_first_is_no_delay(one: Path, tmp_path: Path, name: str, options: str) -> None:
    facts = probe(convert(one, tmp_path / name, *options.split()))
    assert facts.start_s == 0 and facts.duration_s == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize(("video_s", "audio_s", "start_s"), [(0, 0, 0), (8, 8, 0), (0, 0.5, 0.5), (0.5, 0, -0.5)])
def test_the_sound_of_a_film_is_timed_from_its_picture(
    one: Path, tmp_path: Path, ending: str, video_s: float, audio_s: float, start_s: float
) -> None:
    film = tmp_path / f"film.{ending}"
    picture = ["-itsoffset", str(video_s), "-f", "lavfi", "-i", "color=s=64x64:r=25:d=1"]
    sound = ["-itsoffset", str(audio_s), "-i", str(one), "-map", "0", "-map", "1", "-c:a", "aac"]
    codecs = ["-c:v", "libx264", "-copyts", "-muxdelay", "0", "-muxpreload", "0"]
    subprocess.run([find_ffmpeg(None), "-v", "error", *picture, *sound, *codecs, str(film)], check=True)
    assert probe(film).start_s == pytest.approx(start_s, abs=0.1)


def two_tracks(path: Path, one: Path, *options: str) -> Path:
    """Write a file with two audio tracks, of one second and of half a second."""
    inputs = ["-i", str(one), "-t", "0.5", "-i", str(one), "-map", "0", "-map", "1", "-c:a", "aac"]
    subprocess.run([find_ffmpeg(None), "-v", "error", *inputs, *options, str(path)], check=True)
    return path


@pytest.mark.parametrize(
    ("name", "options", "track", "choice"),
    [
        ("a.mka", "-disposition:a:0 0 -disposition:a:1 default", 1, "default"),
        ("a.mka", "-disposition:a:0 default -disposition:a:1 0", 0, "first"),
        ("a.mka", "-disposition:a:0 0 -disposition:a:1 0", 0, "first"),
        ("a.mp4", "-disposition:a:0 0 -disposition:a:1 default", 1, "default"),
        ("a.mka", "-disposition:a:0 comment -disposition:a:1 0", 1, "default"),
    ],
)
def test_the_track_is_the_one_that_players_take(
    one: Path, tmp_path: Path, name: str, options: str, track: int, choice: str
) -> None:
    facts = probe(two_tracks(tmp_path / name, one, *options.split()))
    assert (facts.track, facts.tracks, facts.track_choice) == (track, 2, choice)
    assert facts.duration_s == pytest.approx(0.5 if track else 1.0, abs=0.15)


def damage_first_track(data: bytes) -> bytes:
    """Return an MP4 whose first track names a codec that nobody knows."""
    return re.sub(rb"mp4a(.*?)esds", rb"zzzz\1zzzz", data, count=1, flags=re.DOTALL)


def test_a_track_that_cannot_be_decoded_is_passed_over(one: Path, tmp_path: Path) -> None:
    path = two_tracks(tmp_path / "a.mp4", one)
    path.write_bytes(damage_first_track(path.read_bytes()))
    facts = probe(path)
    assert (facts.track, facts.track_choice, facts.codec) == (1, "readable", "aac")
    path.write_bytes(damage_first_track(path.read_bytes()))
    with pytest.raises(InputError) as caught:
        probe(path)
    assert caught.value.code == ErrorCode.AUDIO_UNREADABLE


@pytest.mark.parametrize(
    ("name", "options", "is_cut"),
    [
        ("a.m4a", "-c:a aac -movflags +faststart", True),
        ("a.mka", "-c:a libopus", True),
        ("a.flac", "-c:a flac", True),
        ("a.m4a", "-c:a aac", False),
        ("a.mka", "-c:a libopus", False),
        ("a.flac", "-c:a flac", False),
    ],
)
def test_a_sound_that_is_cut_off_is_told(tmp_path: Path, name: str, options: str, is_cut: bool) -> None:
    voice = write_wav(tmp_path / "voice.wav", [buzz(4.0)])
    data = convert(voice, tmp_path / f"whole_{name}", *options.split()).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2] if is_cut else data)
    facts = probe(path)
    assert facts.duration_s + facts.missing_s == pytest.approx(4.0, abs=0.1)
    assert (facts.missing_s > 1) == is_cut


@pytest.mark.parametrize(("channels", "is_read"), [(1, True), (3, True), (10, True), (64, True), (65, False)])
def test_any_number_of_channels_up_to_64_is_read(tmp_path: Path, channels: int, is_read: bool) -> None:
    path = tmp_path / "many.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(16_000 * 2 * channels))
    if is_read:
        assert probe(path).channels == channels
    else:
        with pytest.raises(InputError, match="channels"):
            probe(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("voice_delayed_2s.mka", {"track": 0, "start_s": 1.994}),
        ("voice_rate_changes.mp3", {"is_joined": True, "duration_s": 3.997}),
        ("voice_second_track_is_default.mka", {"track": 1, "track_choice": "default"}),
        ("voice_unknown_codec_first.mp4", {"track": 1, "track_choice": "readable"}),
        ("voice_10_channels.wav", {"channels": 10}),
    ],
)
def test_reference_files(shared_dir: Path, name: str, expected: dict[str, object]) -> None:
    facts = probe(shared_dir / "field_cases" / name).model_dump()
    assert {key: facts[key] for key in expected} == pytest.approx(expected, abs=0.01)
