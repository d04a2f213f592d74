"""Voices with a known articulation: drawing moments from them, and the errors of broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.audio import AROUND_FRAME
from model.errors import CorpusError
from model.sound import MelReader
from model.training.voices import Voices
from tests.model.clips import write_clip, write_corpus


def test_moments_are_drawn_from_the_voices_of_a_split_and_not_from_hidden_folders(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", labelled=True)
    hidden = corpus / ".voice_0.partial"
    hidden.mkdir()
    np.save(hidden / "articulation.npy", np.zeros((25, 7), np.float32))
    voices = Voices.open(corpus, "train", MelReader(AROUND_FRAME))
    assert [folder.name for folder in voices.folders] == ["train_0", "train_1", "train_2"]
    drawn = voices.draw_moments(np.random.default_rng(0), voices=2, moments=3)
    assert [(mels.shape, rows.shape) for mels, rows in drawn] == [((3, 80, 32), (3, 7))] * 2


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("audio", np.zeros((16_000, 2), np.int16), r"audio.npy must be \(n,\) int16"),
        ("audio", np.zeros(16_000, np.float32), r"audio.npy must be \(n,\) int16"),
        ("audio", np.zeros(0, np.int16), "less than half as long as its 25 frames"),
        ("articulation", np.zeros((0, 7), np.float32), r"articulation.npy must be \(T,7\), not \(0, 7\)"),
    ],
)
def test_broken_voices_are_named(tmp_path: Path, name: str, array: np.ndarray, sentence: str) -> None:
    folder = write_clip(tmp_path / "c" / "voice_7", labelled=True)
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(CorpusError, match=f"voice_7: .*{sentence}"):
        Voices.open(tmp_path / "c", "train", MelReader(AROUND_FRAME)).voice(0)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"there is no folder .*nowhere"):
        Voices.open(tmp_path / "nowhere", "train", MelReader(AROUND_FRAME))
