"""What the network hears and what the output plays, decoded in this process."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.core.jobs import AudioFacts
from app.core.probing.audio import probe_audio
from app.core.probing.limits import Limits
from app.core.sandbox.confined import program_access
from app.core.sandbox.forked import ForkServerClient, fork_server
from tests.sounds import buzz, concatenated, convert, level_db, write_wav
from worker.media.sound_program import SoundRequest, decode_sound

VOICE = buzz(1.0)
HEARD, PLAYED = 16_000, 48_000


def request_of(path: Path, rate_hz: int, begin_s: float | None = None, end_s: float = 100.0) -> SoundRequest:
    facts = AudioFacts.model_validate(probe_audio(path, Limits()))
    begin_s = max(0.0, facts.start_s) if begin_s is None else begin_s
    channels = 1 if rate_hz == HEARD else min(2, facts.channels)
    is_heard = rate_hz == HEARD
    return SoundRequest(
        str(path), facts.format, facts.track, rate_hz, channels, begin_s, end_s, is_heard, facts.channels
    )


def decoded(request: SoundRequest) -> np.ndarray:
    output = io.BytesIO()
    decode_sound(request, output)
    return np.frombuffer(output.getvalue(), "<i2").reshape(-1, request.channels)


def loudness_db(samples: np.ndarray) -> float:
    """Return the level of all channels together."""
    return level_db(samples) + 10 * float(np.log10(samples.shape[1]))


def inverted(voice: np.ndarray) -> list[np.ndarray]:
    return [voice, -voice]


def inverted_later(voice: np.ndarray) -> list[np.ndarray]:
    return [voice, np.where(np.arange(len(voice)) < len(voice) // 2, voice, -voice)]


def inverted_after_silence(voice: np.ndarray) -> list[np.ndarray]:
    late = np.where(np.arange(len(voice)) < len(voice) // 2, 0, voice)
    return [late, -late]


def one_of(channels: int, place: int) -> Callable[[np.ndarray], list[np.ndarray]]:
    return lambda voice: [voice if k == place else 0 * voice for k in range(channels)]


def all_of(channels: int) -> Callable[[np.ndarray], list[np.ndarray]]:
    return lambda voice: [voice] * channels


@pytest.mark.parametrize(
    "channels_of",
    [
        all_of(2),
        inverted,
        inverted_later,
        inverted_after_silence,
        one_of(10, 0),
        one_of(10, 7),
        all_of(10),
        one_of(64, 33),
        all_of(64),
    ],
)
def test_a_voice_in_any_channels_is_heard_as_loud_as_alone(
    tmp_path: Path, channels_of: Callable[[np.ndarray], list[np.ndarray]]
) -> None:
    loudest = max(channels_of(VOICE), key=lambda channel: float(np.abs(channel).sum()))
    alone = decoded(request_of(write_wav(tmp_path / "alone.wav", [loudest]), HEARD))
    heard = decoded(request_of(write_wav(tmp_path / "voice.wav", channels_of(VOICE)), HEARD))
    assert heard.shape == alone.shape
    assert level_db(heard) == pytest.approx(level_db(alone), abs=0.5)
    assert np.corrcoef(heard[:, 0], alone[:, 0])[0, 1] > 0.99


def test_an_inverted_side_is_found_after_compression_too(tmp_path: Path) -> None:
    voice = write_wav(tmp_path / "voice.wav", inverted(VOICE))
    heard = decoded(request_of(convert(voice, tmp_path / "voice.m4a", "-c:a", "aac"), HEARD))
    assert level_db(heard) == pytest.approx(level_db(decoded(request_of(voice, HEARD))), abs=0.5)


@pytest.mark.parametrize("layout", ["3.0", "5.1", "5.1(side)", "7.1"])
@pytest.mark.parametrize(("ending", "codec"), [("wav", "pcm_s16le"), ("m4a", "aac"), ("flac", "flac")])
@pytest.mark.parametrize("rate_hz", [HEARD, PLAYED])
def test_a_voice_in_the_centre_is_as_loud_as_alone(
    tmp_path: Path, layout: str, ending: str, codec: str, rate_hz: int
) -> None:
    voice = write_wav(tmp_path / "alone.wav", [VOICE])
    mixed = convert(voice, tmp_path / f"mixed.{ending}", "-af", f"pan={layout}|FC=c0", "-c:a", codec)
    alone, found = decoded(request_of(voice, rate_hz)), decoded(request_of(mixed, rate_hz))
    assert loudness_db(found) == pytest.approx(loudness_db(alone), abs=0.5)


@pytest.mark.parametrize("channels_of", [one_of(10, 0), one_of(10, 7), all_of(10), all_of(64)])
def test_channels_without_places_are_played_as_loud_as_the_loudest(
    tmp_path: Path, channels_of: Callable[[np.ndarray], list[np.ndarray]]
) -> None:
    played = decoded(request_of(write_wav(tmp_path / "mix.wav", channels_of(VOICE)), PLAYED))
    alone = decoded(request_of(write_wav(tmp_path / "alone.wav", [VOICE]), PLAYED))
    assert played.shape == (len(alone), 2)
    assert [level_db(played[:, k]) for k in (0, 1)] == pytest.approx([level_db(alone)] * 2, abs=0.5)


def test_a_listener_gets_the_channels_as_they_are(tmp_path: Path) -> None:
    played = decoded(request_of(write_wav(tmp_path / "mix.wav", inverted(VOICE)), PLAYED))
    assert level_db(played[:, 0]) == level_db(played[:, 1]) and np.corrcoef(played.T)[0, 1] == pytest.approx(-1)


def test_a_loud_mix_is_limited_and_not_clipped(tmp_path: Path) -> None:
    loud = write_wav(tmp_path / "loud.wav", [0.9 * np.sin(np.arange(16_000) * 0.2)])
    surround = convert(loud, tmp_path / "mix.wav", "-af", "pan=5.1|FL=c0|FR=c0|FC=c0|BL=c0|BR=c0|LFE=c0")
    played = decoded(request_of(surround, PLAYED))[9600:-9600]
    assert (np.abs(played.astype(int)) >= 32_767).mean() < 0.03


@pytest.mark.parametrize(
    ("ending", "first", "second"),
    [
        ("mp3", "-ar 24000 -c:a libmp3lame", "-ar 44100 -af pan=stereo|c0=c0|c1=c0 -c:a libmp3lame"),
        ("opus", "-c:a libopus", "-af pan=stereo|c0=c0|c1=c0 -c:a libopus"),
        ("ts", "-ar 24000 -c:a aac", "-ar 44100 -af pan=stereo|c0=c0|c1=c0 -c:a aac"),
        ("ts", "-ar 44100 -c:a aac", "-ar 44100 -c:a aac"),
        ("flac", "", "-ar 44100"),
    ],
)
@pytest.mark.parametrize("rate_hz", [HEARD, PLAYED])
def test_both_sentences_of_a_joined_file_are_there(
    tmp_path: Path, ending: str, first: str, second: str, rate_hz: int
) -> None:
    voice = write_wav(tmp_path / "voice.wav", [np.concatenate([VOICE, np.zeros(8000)])])
    parts = [convert(voice, tmp_path / f"{k}.{ending}", *text.split()) for k, text in enumerate([first, second])]
    joined = concatenated(tmp_path / f"joined.{ending}", *parts)
    samples = decoded(request_of(joined, rate_hz))
    assert len(samples) / rate_hz == pytest.approx(request_facts_s(joined), abs=2 / rate_hz)
    starts = [float(at) for at in starts_of_sound(samples, rate_hz)]
    assert starts == pytest.approx([0.0, 1.5], abs=0.15)
    sentence = round(0.9 * rate_hz)
    levels = [level_db(samples[round((at + 0.1) * rate_hz) :][:sentence]) for at in starts]
    assert levels[0] == pytest.approx(levels[1], abs=1.0)


def request_facts_s(path: Path) -> float:
    return float(probe_audio(path, Limits())["duration_s"])


def starts_of_sound(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the times in seconds at which sound follows at least 0.2 s of silence."""
    loud = np.flatnonzero(np.abs(samples[:, 0].astype(int)) > 300) / rate_hz
    return loud[np.concatenate([[True], np.diff(loud) > 0.2])]


@pytest.mark.parametrize(("begin_s", "length_s", "sound_s"), [(0.0, 1.0, 0.0), (0.5, 1.5, 0.5), (-0.25, 0.75, 0.0)])
@pytest.mark.parametrize("rate_hz", [HEARD, PLAYED])
def test_the_samples_begin_when_they_should(
    tmp_path: Path, begin_s: float, length_s: float, sound_s: float, rate_hz: int
) -> None:
    path = write_wav(tmp_path / "voice.wav", [VOICE])
    samples = decoded(request_of(path, rate_hz, begin_s))
    assert len(samples) == length_s * rate_hz
    assert starts_of_sound(samples, rate_hz)[0] == pytest.approx(sound_s, abs=0.02)


def test_a_late_voice_is_late_for_both(tmp_path: Path) -> None:
    voice = write_wav(tmp_path / "voice.wav", [VOICE])
    late = convert(voice, tmp_path / "late.mka", "-c:a", "libopus", before=("-itsoffset", "2"))
    for rate_hz in (HEARD, PLAYED):
        assert starts_of_sound(decoded(request_of(late, rate_hz)), rate_hz)[0] == pytest.approx(2.0, abs=0.02)


def test_nothing_is_written_after_the_end(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "voice.wav", [VOICE])
    assert len(decoded(request_of(path, PLAYED, end_s=0.3))) == 14_400
    assert len(decoded(request_of(path, PLAYED, begin_s=2.0, end_s=0.3))) == 14_400


def test_only_a_sound_of_many_channels_is_read_twice(tmp_path: Path) -> None:
    request = request_of(write_wav(tmp_path / "mix.wav", one_of(10, 0)(VOICE)), PLAYED)
    once = decoded(replace(request, file_channels=2))  # so the level of the mix is not known
    assert level_db(once) == pytest.approx(level_db(decoded(request)) - 20, abs=0.5)


@pytest.mark.parametrize(("end_s", "read"), [(60.0, 1000), (0.04, 0)])
def test_the_program_ends_well_when_nobody_reads_on(tmp_path: Path, end_s: float, read: int) -> None:
    path = write_wav(tmp_path / "voice.wav", [buzz(60.0)])
    program, access = request_of(path, PLAYED, end_s=end_s).to_program(), program_access([sys.executable], [path])
    assert json.loads(program.arguments[0])["rate_hz"] == PLAYED
    with fork_server().start(program, access, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        assert len(child.stdout.read(read)) == read
        child.stdout.close()
        assert child.wait(60) == 0 and child.stderr.read() == b""


def test_the_working_folder_lends_no_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wav(tmp_path / "voice.wav", [VOICE])
    for name in ("worker", "app", "av"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    access = program_access([sys.executable], [path])
    program = request_of(path, PLAYED).to_program()
    with ForkServerClient() as server, server.start(program, access, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and len(child.stdout.read()) == 2 * PLAYED and child.wait(60) == 0


@pytest.mark.parametrize(
    ("name", "begins_s", "length_s"),
    [
        ("voice_one_channel_inverted.wav", 0.0, 1.9),
        ("voice_10_channels.wav", 0.0, 1.9),
        ("voice_delayed_2s.mka", 2.0, 3.9),
        ("voice_rate_changes.mp3", 0.1, 4.0),
        ("voice_second_track_is_default.mka", 0.07, 1.98),
        ("voice_unknown_codec_first.mp4", 0.0, 1.92),
    ],
)
@pytest.mark.parametrize("rate_hz", [HEARD, PLAYED])
def test_reference_files(shared_dir: Path, name: str, begins_s: float, length_s: float, rate_hz: int) -> None:
    samples = decoded(request_of(shared_dir / "field_cases" / name, rate_hz))
    assert len(samples) / rate_hz == pytest.approx(length_s, abs=0.02)
    assert starts_of_sound(samples, rate_hz)[0] == pytest.approx(begins_s, abs=0.05)
    if name == "voice_rate_changes.mp3":
        assert level_db(samples[round(2.1 * rate_hz) :]) > -30
