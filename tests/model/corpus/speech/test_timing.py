"""Times of the phonemes of recordings."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from model.audio import SAMPLE_RATE_HZ
from model.corpus.speech.recordings import Recording, read_recordings, replay
from model.corpus.speech.speech import Phone, Utterance, Voice, choose_voice, join, say
from model.corpus.speech.timing import align, spoken_columns, warp
from model.errors import TimingError

TEXT = "Before breakfast the pilot borrowed a map of the harbour."


def landmarks_s(utterance: Utterance) -> list[float]:
    """Return the middles of sounds that every voice makes."""
    firm = [p for p in utterance.phones if p.symbol.strip("ˈˌ")[:1] in ("p", "b", "m", "f", "v")]
    return [(p.start_s + p.end_s) / 2 for p in firm]


@pytest.mark.parametrize("ident", ["en-us+f5", "en-us+steph", "en-gb-x-rp+m7"])
def test_a_synthetic_voice_is_timed_as_it_was_spoken(ident: str) -> None:
    truth = say(Voice("espeak", ident, "en", "train"), TEXT, random.Random(8))
    found = align(truth.samples, TEXT, "en")
    wanted, got = landmarks_s(truth), landmarks_s(found)
    assert len(wanted) == len(got) >= 8
    errors = np.abs(np.subtract(wanted, got))
    assert np.median(errors) < 0.025 and errors.max() < 0.09


def test_silence_and_noise_around_the_words_are_pauses() -> None:
    truth = say(Voice("espeak", "en-us+f5", "en", "train"), TEXT, random.Random(8))
    noise = np.random.default_rng(1).normal(0, 0.002, len(truth.samples) + 2 * SAMPLE_RATE_HZ).astype(np.float32)
    noise[SAMPLE_RATE_HZ:-SAMPLE_RATE_HZ] += truth.samples
    found = align(noise, TEXT, "en")
    assert found.phones[0] == Phone("", 0.0, found.phones[0].end_s) and found.phones[0].end_s > 0.9
    errors = np.abs(np.subtract(landmarks_s(truth), np.array(landmarks_s(found)) - 1.0))
    assert np.median(errors) < 0.03


def test_pauses_are_no_speech() -> None:
    tone = np.sin(np.arange(SAMPLE_RATE_HZ) * 0.2).astype(np.float32)
    silence = np.zeros(SAMPLE_RATE_HZ, np.float32)
    columns = spoken_columns(np.concatenate([silence, tone, silence, tone]))
    assert set(columns // 80) == {1, 3} and len(columns) == pytest.approx(160, abs=6)


def test_warping_finds_a_known_stretch() -> None:
    rng = np.random.default_rng(2)
    first = rng.normal(size=(60, 8)).astype(np.float32).cumsum(axis=0)
    stretched = np.stack([np.interp(np.arange(84) / 1.4, np.arange(60), channel) for channel in first.T], axis=1)
    places, cost = warp(first, stretched.astype(np.float32))
    assert np.abs(places - np.arange(60) * 1.4).max() < 3 and cost < 1
    assert (np.diff(places) >= 0).all()


@pytest.mark.parametrize("lengths", [(2, 2), (20, 60)])
def test_sequences_of_very_different_length_are_refused(lengths: tuple[int, int]) -> None:
    with pytest.raises(TimingError):
        warp(*(np.zeros((n, 4), np.float32) for n in lengths))


def test_silence_is_refused() -> None:
    with pytest.raises(TimingError, match="no speech"):
        align(np.zeros(SAMPLE_RATE_HZ, np.float32), TEXT, "en")


def test_replaying_keeps_one_speaker_and_the_length() -> None:
    spoken = say(Voice("espeak", "en-us+f5", "en", "train"), TEXT, random.Random(8))
    recordings = [
        Recording(Utterance(spoken.samples, spoken.phones, name), "train") for name in ("recorded:a", "recorded:b")
    ]
    for seed in range(6):
        part = replay(random.Random(seed), recordings, 4.0)
        assert part.duration_s == 4.0 and part.voice in ("recorded:a", "recorded:b")
        assert all(0 <= p.start_s < p.end_s for p in part.phones)


@pytest.mark.slow
def test_free_recordings_are_read(shared_dir: Path) -> None:
    told: list[str] = []
    found = read_recordings(shared_dir / "media" / "speech", told.append)
    voices = {one.utterance.voice: one.split for one in found}
    assert voices == {
        "recorded:ms": "val",
        "recorded:lj001": "train",
        "recorded:prompts_it": "train",
        "recorded:prompts_ru": "train",
    }
    assert len(found) + len(told) == 30 and len(found) >= 28


def test_a_recording_with_many_pauses_is_refused() -> None:
    voice = choose_voice(random.Random(1), "train")
    parts = [say(voice, "good morning to you all", random.Random(k)) for k in range(4)]
    slow = join(parts, [0.0, 1.5, 1.5, 1.5], sum(part.duration_s for part in parts) + 4.5)
    with pytest.raises(TimingError, match="too many pauses"):
        align(slow.samples, " ".join(["good morning to you all"] * 4), "en")
