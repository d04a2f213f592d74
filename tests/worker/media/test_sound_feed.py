"""The sound of a finished video begins, lasts and sounds as what the network heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.errors import ServiceError
from app.core.jobs import AudioFacts, JobOptions
from app.core.probing.audio import probe_audio
from app.core.probing.probe import find_ffmpeg, probe_video
from tests.sounds import buzz, concatenated, convert, write_wav
from tests.worker.clips import LIMITS, portrait, write_clip
from worker.media.decode import Source, open_source
from worker.media.encode import Encoder, join
from worker.media.sound_feed import PlayedSound

FRAMES = 75


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return a video of three seconds."""
    path = write_clip(tmp_path_factory.mktemp("film") / "film.mp4", [portrait(64, 64)] * FRAMES)
    return open_source(path, probe_video(path, LIMITS), find_ffmpeg(None), never_stop)


def joined(folder: Path) -> Path:
    voice = write_wav(folder / "voice.wav", [np.concatenate([buzz(1.0), np.zeros(8000)])])
    parts = [convert(voice, folder / f"{k}.mp3", "-ar", rate) for k, rate in enumerate(("24000", "44100"))]
    return concatenated(folder / "joined.mp3", *parts)


def late(folder: Path) -> Path:
    voice = write_wav(folder / "voice.wav", [buzz(1.0)])
    return convert(voice, folder / "late.mka", "-c:a", "libopus", before=("-itsoffset", "1.5"))


def many(folder: Path) -> Path:
    return write_wav(folder / "many.wav", [buzz(1.0) if k == 3 else np.zeros(16_000) for k in range(10)])


def played(path: Path) -> PlayedSound:
    facts = AudioFacts.model_validate(probe_audio(path, LIMITS))
    return PlayedSound(path, facts, facts.start_s)


def encode(output: Path, source: Source, sound: PlayedSound | None) -> Path:
    with Encoder(output, source, FRAMES, sound, JobOptions(preset="ultrafast"), never_stop) as encoder:
        for _ in range(FRAMES):
            encoder.write(np.full((96, 64), 128, np.uint8))
        encoder.finish()
    return output


def sound_of(path: Path) -> tuple[np.ndarray, float]:
    """Return the starts of sounds in the file, in seconds, and its length."""
    wave = convert(path, path.with_suffix(".raw"), "-ac", "1", "-ar", "16000", "-f", "s16le")
    samples = np.abs(np.frombuffer(wave.read_bytes(), "<i2").astype(int))
    loud = np.flatnonzero(samples > 300) / 16_000
    return loud[np.concatenate([[True], np.diff(loud) > 0.2])], len(samples) / 16_000


@pytest.mark.parametrize(("make", "starts_s"), [(joined, [0.0, 1.6]), (late, [1.5]), (many, [0.0])])
@pytest.mark.parametrize("in_segments", [False, True])
def test_the_output_plays_what_is_heard(
    tmp_path: Path, source: Source, make: object, starts_s: list[float], in_segments: bool
) -> None:
    assert callable(make)
    sound, output = played(make(tmp_path)), tmp_path / "out.mp4"
    if in_segments:
        segment = encode(tmp_path / "segment.mp4", source, None)
        join([segment], output, source, FRAMES, sound, JobOptions(), never_stop)
    else:
        encode(output, source, sound)
    starts, length_s = sound_of(output)
    assert starts == pytest.approx(starts_s, abs=0.08)
    assert length_s == pytest.approx(3.0, abs=0.005)


def test_a_sound_that_cannot_be_read_leaves_no_output(tmp_path: Path, source: Source) -> None:
    sound = played(write_wav(tmp_path / "voice.wav", [buzz(1.0)]))
    sound.path.unlink()
    with pytest.raises(ServiceError):
        encode(tmp_path / "out.mp4", source, sound)
    assert not list(tmp_path.iterdir())
