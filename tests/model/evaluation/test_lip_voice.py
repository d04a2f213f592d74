"""Lips match the voice that they say, at the lag that they have, and no other voice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.arrays import U8
from model.errors import CheckpointError, CorpusError
from model.evaluation.cases import Reading
from model.evaluation.lip_voice import (
    LipVoiceMatch,
    LipVoiceModel,
    load_model,
    match_lips,
    match_reading,
    save_model,
    sound_bands,
    sound_rows,
)
from model.evaluation.lip_voice_fit import Talk, Talks, account, fit, judge_held_out, read_talks, separation
from model.framing import Framing
from tests.model.evaluation.talks import talk


@pytest.fixture(scope="module")
def model() -> LipVoiceModel:
    return fit([talk(speaker, sentence) for speaker in range(5) for sentence in range(2)])


def matched(model: LipVoiceModel, one: Talk, voice: np.ndarray | None = None) -> LipVoiceMatch:
    found = match_reading(model, one.lips, one.fps, one.voice if voice is None else voice)
    assert found is not None
    return found


def test_own_voice_matches_and_shifted_and_other_voices_do_not(model: LipVoiceModel) -> None:
    for speaker in (11, 12, 13):
        mine = talk(speaker)
        assert matched(model, mine).match > 0.6
        assert matched(model, mine, np.roll(mine.voice, 9_600)).match < 0.4
        assert matched(model, mine, talk(speaker + 20).voice).match < 0.4
        assert matched(model, mine).seconds == 4.0


@pytest.mark.parametrize(("late_s", "in_sync"), [(0.0, True), (-0.1, True), (0.2, False), (-0.3, False)])
def test_the_lag_is_told_and_only_lips_in_sync_match(model: LipVoiceModel, late_s: float, in_sync: bool) -> None:
    found = matched(model, talk(11, lips_late_s=late_s))
    assert found.lag_s == pytest.approx(late_s, abs=0.03)
    assert (found.match > 0.5) is in_sync
    assert found.curve.max() > 0.6 and len(found.curve) == 65


def test_frame_rate_and_sparse_frames_hardly_matter(model: LipVoiceModel) -> None:
    usual = matched(model, talk(11)).match
    assert matched(model, talk(11, fps=50.0)).match == pytest.approx(usual, abs=0.08)
    one = talk(11)
    shapes = model.shapes(one.lips)[::2]
    found = match_lips(model, shapes, one.times_s[::2], one.voice)
    assert found is not None and found.match == pytest.approx(usual, abs=0.08)


def test_place_and_slow_movement_of_the_face_do_not_matter(model: LipVoiceModel) -> None:
    one = talk(11)
    moved = one.lips + np.float32(0.1) + np.linspace(0, 0.2, len(one.lips), dtype=np.float32)[:, None, None]
    found = match_reading(model, moved, one.fps, one.voice)
    assert found is not None and found.match == pytest.approx(matched(model, one).match, abs=0.05)


def test_frames_without_lips_are_left_out(model: LipVoiceModel) -> None:
    one = talk(11)
    lips = one.lips.copy()
    lips[40:60] = np.nan
    found = match_reading(model, lips, one.fps, one.voice)
    assert found is not None and found.match > 0.5
    assert found.seconds == pytest.approx(80 / 25)


@pytest.mark.parametrize(
    ("lips", "voice"),
    [
        (slice(0, 40), slice(None)),  # 1.6 s of lips
        (slice(0, 0), slice(None)),
        (slice(None), slice(0, 0)),
        (slice(None), slice(0, 8_000)),  # half a second of voice
    ],
)
def test_too_little_is_not_judged(model: LipVoiceModel, lips: slice, voice: slice) -> None:
    one = talk(11)
    assert match_reading(model, one.lips[lips], one.fps, one.voice[voice]) is None
    assert match_reading(model, one.lips, one.fps, np.zeros_like(one.voice)) is None


def test_lips_that_do_not_move_match_nothing(model: LipVoiceModel) -> None:
    one = talk(11)
    still = np.repeat(one.lips[:1], len(one.lips), axis=0)
    assert abs(matched(model, Talk("", still, one.fps, one.voice)).match) < 1e-6


def test_any_part_of_a_voice_has_the_bands_of_the_whole() -> None:
    voice = talk(3, seconds=6.0).voice
    whole, heard = sound_bands(voice, 0, 480)
    part, also_heard = sound_bands(voice, 200, 260)
    np.testing.assert_allclose(part, whole[200:280], atol=1e-9)
    assert np.array_equal(also_heard, heard[200:260])
    assert sound_rows(part).shape == (60, 120)


def test_a_model_is_read_as_it_was_written(model: LipVoiceModel, tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", model)
    again = load_model(tmp_path / "m.safetensors")
    assert matched(again, talk(11)).match == matched(model, talk(11)).match
    assert (tmp_path / "m.safetensors").stat().st_size < 10_000
    for name in ("nothing", "broken"):
        (tmp_path / "broken").write_bytes(b"\0" * 50)
        with pytest.raises(CheckpointError, match=name):
            load_model(tmp_path / name)


def test_the_account_of_held_out_speakers_tells_voices_apart() -> None:
    talks = Talks([talk(speaker) for speaker in range(5)], [talk(9)])
    found = judge_held_out(talks)
    assert [one.speaker for one in found] == [f"speaker {number}" for number in (0, 1, 2, 3, 4, 9)]
    own = [match for one in found for match in one.own]
    other = [match for one in found for match in one.other]
    assert separation(own, other) > 0.95
    lines = account(found)
    assert len(lines) == 1 + 6 + 1 + 1 and lines[-1].startswith("own above shifted in ")


def test_separation_is_the_share_of_pairs_in_order() -> None:
    assert separation([0.5, 0.4], [0.1, 0.4]) == pytest.approx(0.875)


def test_talks_are_read_by_split_and_speaker(tmp_path: Path) -> None:
    for number in range(6):
        folder = tmp_path / f"clip_{number}"
        folder.mkdir()
        meta = {"fps": 25, "identity": f"speaker {min(number, 4)}", "split": "val" if number == 0 else "train"}
        (folder / "meta.json").write_text(json.dumps(meta))
        np.save(folder / "audio.npy", talk(number).voice)
        np.save(folder / "crops.npy", np.full((100, 8, 8, 3), number, np.uint8))

    def read_lips(crops: U8, framing: Framing) -> Reading:
        number = int(crops[0, 0, 0, 0])
        lips = talk(number).lips.copy()
        lips[: 100 if number == 5 else 5] = np.nan  # lips are never seen in the last clip
        return Reading(np.zeros((100, 2), np.float32), lips)

    talks = read_talks(tmp_path, read_lips)
    assert [one.speaker for one in talks.train] == [f"speaker {number}" for number in (1, 2, 3, 4)]
    assert [one.speaker for one in talks.held_out] == ["speaker 0"]
    assert np.array_equal(talks.train[0].voice, talk(1).voice) and talks.train[0].fps == 25
    (tmp_path / "clip_1" / "meta.json").unlink()
    with pytest.raises(CorpusError, match="shows 3 speakers to learn from, 4 are needed"):
        read_talks(tmp_path, read_lips)
