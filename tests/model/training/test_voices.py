"""Voices with a known articulation: drawing moments from them, and the errors of broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.audio import AROUND_FRAME
from model.errors import CorpusError
from model.sound import MelReader
from model.training.voices import USUAL_MOVEMENT, Voices, filmed_articulation
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


def _write_film(folder: Path, speaker: str, seed: int) -> None:
    write_clip(folder, seed=seed)
    meta = json.loads((folder / "meta.json").read_text()) | {"identity": speaker}
    (folder / "meta.json").write_text(json.dumps(meta))
    np.save(folder / "labels.npy", np.random.default_rng(seed).random((25, 2)).astype(np.float32))


def test_filmed_voices_are_drawn_by_speaker(tmp_path: Path) -> None:
    for number in range(6):
        _write_film(tmp_path / f"film_{number}", "busy" if number else "rare", number)
    voices = Voices.open_filmed(tmp_path, "train", MelReader(AROUND_FRAME))
    rare = voices.voice(voices.folders.index(tmp_path / "film_0"))
    drawn = voices.draw_moments(np.random.default_rng(0), voices=300, moments=1)
    is_rare = [np.isin(rows[:, 0], rare.rows[:, 0]).all() for _, rows in drawn]
    assert 0.4 < np.mean(is_rare) < 0.6, "one of two speakers, though five of six clips are the other's"


def test_filmed_lips_have_the_usual_movement_and_nothing_else_is_known() -> None:
    labels = np.stack([0.02 + 0.3 * np.linspace(0, 1, 50) ** 2, 0.5 + 0.01 * np.sin(np.arange(50))], axis=1)
    rows = filmed_articulation(labels.astype(np.float32))
    np.testing.assert_allclose(rows[:, :2].std(axis=0), USUAL_MOVEMENT, rtol=1e-3)
    assert rows[0, 0] == pytest.approx(0.0, abs=0.01), "lips that are as closed as ever are closed"
    assert np.isnan(rows[:, 2:]).all()
    still = filmed_articulation(np.full((10, 2), 0.3, np.float32))
    assert np.isfinite(still[:, :2]).all() and not still[:, :2].any()


def test_films_without_finite_labels_are_refused(tmp_path: Path) -> None:
    _write_film(tmp_path / "film", "someone", 0)
    np.save(tmp_path / "film" / "labels.npy", np.full((25, 2), np.nan, np.float32))
    with pytest.raises(CorpusError, match="film: its labels must be finite"):
        Voices.open_filmed(tmp_path, "train", MelReader(AROUND_FRAME)).voice(0)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (b"junk", "its labels.npy cannot be read"),
        (b"", "its labels.npy cannot be read"),
        (np.zeros((0, 2), np.float32), r"labels.npy must be \(T,2\), not \(0, 2\)"),
        (np.float32(3), r"labels.npy must be \(T,2\), not \(\)"),
    ],
)
def test_damaged_labels_are_named(tmp_path: Path, labels: bytes | np.ndarray, sentence: str) -> None:
    _write_film(tmp_path / "film_3", "someone", 0)
    if isinstance(labels, bytes):
        (tmp_path / "film_3" / "labels.npy").write_bytes(labels)
    else:
        np.save(tmp_path / "film_3" / "labels.npy", labels)
    with pytest.raises(CorpusError, match=f"film_3: {sentence}"):
        Voices.open_filmed(tmp_path, "train", MelReader(AROUND_FRAME)).voice(0)


def test_filmed_lips_rest_where_nobody_speaks(tmp_path: Path) -> None:
    _write_film(tmp_path / "film", "someone", 0)
    samples = np.load(tmp_path / "film" / "audio.npy")
    samples[:8000] = 0  # the first half of a second
    np.save(tmp_path / "film" / "audio.npy", samples)
    rows = Voices.open_filmed(tmp_path, "train", MelReader(AROUND_FRAME)).voice(0).rows
    opening = 10  # the gate opens 80 ms early
    assert not rows[:opening, :2].any(), "nobody speaks, though the labels say that the lips move"
    assert (rows[13:, :2] != 0).any(axis=0).all() and (rows[13:, :2].std(axis=0) > 0.05).all()
    assert np.isnan(rows[:, 2:]).all()


def test_a_folder_without_films_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "c", labelled=True)
    with pytest.raises(CorpusError, match=r"holds 0 voices with labels.npy, none of them for 'train'"):
        Voices.open_filmed(tmp_path / "c", "train", MelReader(AROUND_FRAME))
