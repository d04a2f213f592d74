"""Sentences, voices, the times of phonemes, and the effects of a recording."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from model.audio import SAMPLE_RATE_HZ
from model.corpus.speech.acoustics import add_noise, change_response, degrade, limit_band, quantise_mu_law, reverberate
from model.corpus.speech.espeak import espeak
from model.corpus.speech.sentences import LANGUAGES, sentence
from model.corpus.speech.speech import (
    Phone,
    Utterance,
    Voice,
    change_size,
    choose_voice,
    flite_binary,
    join,
    say,
    talk,
    voices,
    with_closures,
)
from model.errors import EspeakError

ENGLISH = Voice("espeak", "en-us+f2", "en", "train")


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_repeat_by_seed_and_can_be_spoken(language: str) -> None:
    first, again = sentence(random.Random(5), language), sentence(random.Random(5), language)
    assert first == again and first.endswith(".") and len(first.split()) >= 2
    spoken = say(next(v for v in voices("train") if v.language == language), first, random.Random(1))
    assert spoken.duration_s > 0.4 and float(np.abs(spoken.samples).max()) > 0.02
    assert sum(bool(p.symbol) for p in spoken.phones) >= 5


def test_voices_of_the_splits_are_apart() -> None:
    train, val = ({voice.ident.partition("+")[2] or voice.ident for voice in voices(s)} for s in ("train", "val"))
    assert train and val and not train & val
    assert len({voice.name for voice in voices("train")}) == len(voices("train")) > 100


def test_phones_are_in_order_and_without_gaps() -> None:
    phones = say(ENGLISH, "Five brown puppies jumped over the moon.", random.Random(2)).phones
    for one, two in itertools.pairwise(phones):
        assert one.start_s < one.end_s == pytest.approx(two.start_s)


def test_the_same_seed_speaks_the_same_samples() -> None:
    say(ENGLISH, "Something else in between.", random.Random(9))
    one = say(ENGLISH, "My mother bought plum jam.", random.Random(3))
    say(Voice("espeak", "de+m1", "de", "train"), "Guten Morgen.", random.Random(4))
    two = say(ENGLISH, "My mother bought plum jam.", random.Random(3))
    assert np.array_equal(one.samples, two.samples) and one.phones == two.phones


def test_a_stop_is_silent_where_its_closure_is() -> None:
    spoken = say(ENGLISH, "A puppy, a puppy.", random.Random(1))
    stops = [phone for phone in spoken.phones if phone.symbol == "p"]
    assert len(stops) == 4
    for stop in stops:
        middle = round((stop.start_s + 0.25 * (stop.end_s - stop.start_s)) * SAMPLE_RATE_HZ)
        around = spoken.samples[middle - 80 : middle + 80]
        assert float(np.sqrt(np.mean(around**2))) < 0.1 * float(np.abs(spoken.samples).max())


def test_closures_take_their_time_from_the_sound_before() -> None:
    moved = with_closures([("ˈa", 0.0, 0.2), ("p", 0.2, 0.23), ("b", 0.23, 0.33), ("", 0.33, 0.4)])
    assert moved[0].end_s == moved[1].start_s == pytest.approx(0.145)
    assert moved[2] == Phone("b", 0.23, 0.33)  # long enough to hold its own closure


def test_unknown_voice_is_refused() -> None:
    with pytest.raises(EspeakError, match="no voice"):
        espeak().speak("hello", "xx-nowhere")


@pytest.mark.skipif(flite_binary() is None, reason="flite is not installed")
def test_flite_gives_phonemes_with_times() -> None:
    spoken = say(Voice("flite", "slt", "en", "train"), "My baby saw five boats!", random.Random(1))
    symbols = "".join(phone.symbol for phone in spoken.phones)
    assert symbols.startswith("maɪbeɪb") and spoken.phones[-1].end_s == pytest.approx(spoken.duration_s, abs=0.1)


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.2])
def test_changing_size_scales_sound_and_times_together(factor: float) -> None:
    whole = say(ENGLISH, "A boat.", random.Random(1))
    changed = change_size(whole, factor)
    assert changed.duration_s == pytest.approx(whole.duration_s / factor, rel=0.005)
    assert changed.phones[-1].end_s == pytest.approx(whole.phones[-1].end_s / factor, rel=0.005)


def test_joining_keeps_each_sound_at_its_phoneme() -> None:
    click = np.zeros(1600, np.float32)
    click[800] = 1.0
    part = Utterance(click, (Phone("t", 0.05, 0.06),), "clicks")
    joined = join([part, part, part], [0.1, 0.2, 0.3], 0.7)
    assert len(joined.samples) == round(0.7 * SAMPLE_RATE_HZ)
    clicks = np.flatnonzero(joined.samples) / SAMPLE_RATE_HZ
    assert np.allclose(clicks, [phone.start_s for phone in joined.phones], atol=1e-6) and len(clicks) == 2


@pytest.mark.parametrize("split", ["train", "val"])
def test_talking_lasts_as_long_as_asked(split: str) -> None:
    rng = random.Random(6)
    voice = choose_voice(rng, split)
    spoken = talk(rng, voice, 2.52)
    assert len(spoken.samples) == round(2.52 * SAMPLE_RATE_HZ)
    assert spoken.voice == voice.name and voice.split == split


@pytest.mark.parametrize("effect", [change_response, reverberate, limit_band, add_noise, quantise_mu_law])
def test_effects_change_the_sound_but_not_its_time(effect: object) -> None:
    spoken = say(ENGLISH, "Peter Piper picked a peck.", random.Random(1)).samples
    changed = effect(spoken, np.random.default_rng(4))  # type: ignore[operator]
    assert changed.shape == spoken.shape and np.isfinite(changed).all() and not np.array_equal(changed, spoken)
    envelopes = [np.convolve(np.abs(x), np.ones(160), "same")[::80] for x in (spoken, changed)]
    lags = range(-8, 9)
    likeness = [np.corrcoef(envelopes[0][10:-10], np.roll(envelopes[1], lag)[10:-10])[0, 1] for lag in lags]
    assert abs(lags[int(np.argmax(likeness))]) <= 1  # 5 ms


@pytest.mark.parametrize("seed", range(6))
def test_degraded_sound_is_finite_and_repeats(seed: int) -> None:
    for samples in (np.zeros(8000, np.float32), np.sin(np.arange(8000, dtype=np.float32) / 9)):
        one = degrade(samples, np.random.default_rng(seed))
        assert one.dtype == np.int16 and one.shape == samples.shape
        assert np.array_equal(one, degrade(samples, np.random.default_rng(seed)))
