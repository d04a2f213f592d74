"""The sound of an output with dubs: the film, replaced by a voice wherever a dub has one."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.errors import ServiceError
from app.core.probing.probe import probe_audio
from tests.sounds import buzz, times, write_wav
from tests.worker.clips import LIMITS
from worker.media.dub_sound import FULL_SCALE, DubbedSound, DubSound, PeakGuard
from worker.media.sound_feed import PlayedSound

RATE_HZ = 48_000


@pytest.mark.parametrize("sizes", [[4800], [480] * 10, [240] * 20, [2400, 2160, 240], [4560, 240]])
def test_sums_are_kept_within_full_scale_however_they_arrive(sizes: list[int]) -> None:
    sound = np.random.default_rng(0).normal(0, 6000, (4800, 2)).clip(-30_000, 30_000).astype(np.float32)
    sound[2000:2400] *= 4
    whole = PeakGuard(240)
    expected = np.concatenate([whole.add(sound), whole.finish()])
    guard, at = PeakGuard(240), 0
    parts = []
    for size in sizes:
        parts.append(guard.add(sound[at : at + size]))
        at += size
    found = np.concatenate([*parts, guard.finish()])
    assert np.array_equal(found, expected)
    assert np.abs(found).max() <= FULL_SCALE
    assert np.array_equal(found[:1440], sound[:1440]) and np.array_equal(found[2880:], sound[2880:])
    gain = found[1440:2880] / np.where(sound[1440:2880] == 0, 1, sound[1440:2880])
    assert np.abs(np.diff(gain[:, 0])).max() < 0.01  # no jump


@pytest.mark.parametrize("count", [0, 1, 239, 240, 241])
def test_short_sounds_pass_whole(count: int) -> None:
    sound = np.full((count, 1), 100.0, np.float32)
    guard = PeakGuard(240)
    assert np.array_equal(np.concatenate([guard.add(sound), guard.finish()]), sound)


def tone(path: Path, hz: float, length_s: float, amplitude: float = 0.2) -> PlayedSound:
    write_wav(path, [amplitude * np.sin(2 * np.pi * hz * times(length_s, RATE_HZ))], RATE_HZ)
    return PlayedSound(path, probe_audio(path, LIMITS), 0.0)


def played(sound: DubbedSound, length_s: Fraction) -> np.ndarray:
    """Return the samples that ffmpeg would read, (n,) from -1 to 1."""
    with sound.feed(length_s, never_stop) as feed:
        with os.fdopen(os.dup(feed.fd), "rb") as pipe:
            feed.close_pipe()
            data = pipe.read()
        feed.finish()
    return np.frombuffer(data, "<i2") / 32768


def strength(samples: np.ndarray, hz: float, first_s: float, last_s: float) -> float:
    """Return the amplitude of a tone in a part of the samples."""
    part = samples[round(first_s * RATE_HZ) : round(last_s * RATE_HZ)]
    return float(2 * np.abs(np.mean(part * np.exp(-2j * np.pi * hz * np.arange(len(part)) / RATE_HZ))))


def test_a_voice_replaces_the_film_in_its_stretch_alone(tmp_path: Path) -> None:
    film, one, two = (tone(tmp_path / f"{hz}.wav", hz, 3.0) for hz in (400, 1000, 3000))
    short = tone(tmp_path / "short.wav", 5000, 0.3)
    dubs = (DubSound(two, 1.5, 2.0), DubSound(one, 0.5, 1.6), DubSound(short, 2.2, 2.8))
    found = played(DubbedSound(film, 0.0, dubs), Fraction(3))
    assert len(found) == 3 * RATE_HZ
    expected = {  # amplitudes of the film and of the three voices
        (0.0, 0.5): (0.2, 0, 0, 0),
        (0.52, 1.48): (0, 0.2, 0, 0),
        (1.52, 1.58): (0, 0.2, 0.2, 0),
        (1.62, 1.98): (0, 0, 0.2, 0),
        (2.0, 2.2): (0.2, 0, 0, 0),
        (2.22, 2.48): (0, 0, 0, 0.2),
        (2.52, 2.78): (0, 0, 0, 0),
        (2.8, 3.0): (0.2, 0, 0, 0),
    }
    for (first_s, last_s), amplitudes in expected.items():
        strengths = [strength(found, hz, first_s, last_s) for hz in (400, 1000, 3000, 5000)]
        assert strengths == pytest.approx(amplitudes, abs=0.01), (first_s, last_s)
    untouched = np.round(found[: RATE_HZ // 2] * 32768)
    assert np.array_equal(untouched, np.round(0.2 * np.sin(2 * np.pi * 400 * times(0.5, RATE_HZ)) * 32767))


def test_a_part_of_the_film_has_the_sound_of_that_part(tmp_path: Path) -> None:
    film, voice = tone(tmp_path / "film.wav", 400, 0.9), tone(tmp_path / "voice.wav", 1000, 2.0)
    found = played(DubbedSound(film, 0.5, (DubSound(voice, -0.2, 0.1), DubSound(voice, 0.9, 1.4))), Fraction(1))
    assert len(found) == RATE_HZ
    for first_s, last_s, amplitudes in (
        (0.0, 0.08, (0, 0.2)),
        (0.12, 0.38, (0.2, 0)),
        (0.42, 0.88, (0, 0)),  # the film's own sound has ended
        (0.92, 1.0, (0, 0.2)),
    ):
        strengths = [strength(found, hz, first_s, last_s) for hz in (400, 1000)]
        assert strengths == pytest.approx(amplitudes, abs=0.012), first_s


def test_two_loud_voices_do_not_clip(tmp_path: Path) -> None:
    voices = [tone(tmp_path / f"{hz}.wav", hz, 1.0, 0.9) for hz in (400, 1000)]
    found = played(DubbedSound(None, 0.0, tuple(DubSound(voice, 0.0, 1.0) for voice in voices)), Fraction(1))
    strengths = [strength(found, hz, 0.1, 0.9) for hz in (400, 700, 1000, 1600)]
    assert strengths[0] == pytest.approx(strengths[2], abs=0.02) and strengths[0] > 0.4
    assert max(strengths[1], strengths[3]) < 0.05  # distortion would be heard there


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    sound = DubbedSound(tone(tmp_path / "film.wav", 400, 60.0), 0.0, ())
    with sound.feed(Fraction(60), never_stop) as feed:
        feed.close_pipe()
        feed.finish()


def test_a_voice_that_cannot_be_decoded_is_an_error(tmp_path: Path) -> None:
    voice = tone(tmp_path / "voice.wav", 400, 1.0)
    voice.path.write_bytes(b"RIFF" + b"x" * 100)
    with DubbedSound(None, 0.0, (DubSound(voice, 0.0, 1.0),)).feed(Fraction(1), never_stop) as feed:
        with os.fdopen(os.dup(feed.fd), "rb") as pipe:
            pipe.read()
        with pytest.raises(ServiceError, match="encode_failed"):
            feed.finish()


def test_stereo_and_mono_are_added(tmp_path: Path) -> None:
    film = write_wav(tmp_path / "film.wav", [buzz(1.0, rate_hz=44_100), np.zeros(44_100)], 44_100)
    played_film = PlayedSound(film, probe_audio(film, LIMITS), 0.0)
    voice = tone(tmp_path / "voice.wav", 1000, 1.0)
    found = played(DubbedSound(played_film, 0.0, (DubSound(voice, 0.5, 1.0),)), Fraction(1)).reshape(-1, 2)
    assert len(found) == RATE_HZ
    left, right = (strength(found[:, side], 1000, 0.6, 0.9) for side in (0, 1))
    assert left == pytest.approx(right, abs=0.01) and left > 0.1
    assert np.abs(found[: RATE_HZ // 2, 1]).max() < 0.01 < np.abs(found[: RATE_HZ // 2, 0]).max()
