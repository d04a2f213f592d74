"""Building a small corpus for real: faces, voices, rendering, detection, crops, labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.audio import AROUND_FRAME
from model.corpus.build import SILENT_EVERY, VAL_EVERY, Summary, build_corpus
from model.voices import Voices
from worker.prepare import Preparer, mouth_size

CLIPS = 3
VOICES = 2
SEED = 11


@pytest.fixture(scope="module")
def preparer() -> Iterator[Preparer]:
    made = Preparer(size=96)
    yield made
    made.close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, preparer: Preparer) -> tuple[Path, Summary, list[str]]:
    folder = tmp_path_factory.mktemp("corpus")
    told: list[str] = []
    summary = build_corpus(
        None, folder, CLIPS, SEED, preparer.landmarks, preparer.write_clip, tell=told.append, voices=VOICES
    )
    return folder, summary, told


def test_without_faces_it_works_and_says_what_is_missing(corpus: tuple[Path, Summary, list[str]]) -> None:
    _, summary, told = corpus
    assert summary.written + len(summary.skipped) == CLIPS + VOICES and summary.written >= 2 + VOICES
    assert "astronaut" in told[0]


def test_clips_are_complete(corpus: tuple[Path, Summary, list[str]]) -> None:
    folders = sorted(corpus[0].glob("puppet_*"))
    assert len(folders) == corpus[1].written - VOICES
    for folder in folders:
        crops, audio, labels = (np.load(folder / f"{name}.npy") for name in ("crops", "audio", "labels"))
        meta = json.loads((folder / "meta.json").read_text())
        assert crops.shape[1:] == (96, 96, 3) and crops.dtype == np.uint8 and 75 <= len(crops) <= 125
        assert audio.dtype == np.int16 and len(audio) == len(crops) * 640
        assert labels.dtype == np.float32 and labels.shape == (len(crops), 2)
        articulation, mesh = np.load(folder / "articulation.npy"), np.load(folder / "mesh.npy")
        assert articulation.shape == (len(crops), 7) and mesh.shape == (len(crops), 468, 2)
        assert meta["fps"] == 25 and meta["identity"] == "astronaut" and meta["split"] == "train"
        assert meta["source"] == "astronaut.png" and meta["voice"]
        assert labels[:, 0].min() < 0.02 and 0.04 < labels[:, 0].max() < 0.3
        assert labels[:, 1].min() > 0.2 and labels[:, 1].max() < 0.75


def test_voices_are_sound_with_articulation(corpus: tuple[Path, Summary, list[str]]) -> None:
    folders = sorted(corpus[0].glob("voice_*"))
    assert len(folders) == VOICES
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {"audio.npy", "articulation.npy", "meta.json"}
        audio, rows = np.load(folder / "audio.npy"), np.load(folder / "articulation.npy")
        assert (audio.dtype, audio.shape, rows.shape) == (np.int16, (160_000,), (250, 7))
        assert rows[:, 0].max() > 0.3 and np.abs(audio).max() > 500
    assert len(Voices(corpus[0], "train", AROUND_FRAME).folders) == corpus[1].written


def test_the_mesh_lies_on_the_lips(corpus: tuple[Path, Summary, list[str]]) -> None:
    """What is between the inner lips of an open mouth is darker than the lips' outer edge around it."""
    folder = sorted(corpus[0].glob("puppet_*"))[0]
    crops, mesh = np.load(folder / "crops.npy"), np.load(folder / "mesh.npy").astype(np.float32)
    wide = int(np.load(folder / "labels.npy")[:, 0].argmax())
    points = ((mesh[wide] + 1) * 48).astype(int)
    grey = crops[wide].mean(axis=2)
    inside = grey[(points[13, 1] + points[14, 1]) // 2, (points[13, 0] + points[14, 0]) // 2]
    assert inside < min(grey[points[at, 1], points[at, 0]] for at in (17, 200, 50, 280))


def test_labels_say_what_the_crops_show(corpus: tuple[Path, Summary, list[str]], preparer: Preparer) -> None:
    """A mesh fitted to the finished crops sees the mouth open when the labels say so."""
    folder = sorted(corpus[0].glob("puppet_*"))[0]
    crops, labels = np.load(folder / "crops.npy"), np.load(folder / "labels.npy")
    seen, said = [], []
    for index in range(0, len(crops), 2):
        bordered = np.pad(np.repeat(np.repeat(crops[index], 3, 0), 3, 1), ((90, 90), (90, 90), (0, 0)), mode="edge")
        found = preparer.landmarks(bordered)
        if found:
            seen.append(mouth_size(found[0])[0])
            said.append(labels[index, 0])
    assert len(seen) > 20 and np.corrcoef(seen, said)[0, 1] > 0.8


def test_a_stopped_build_goes_on_and_a_clip_can_be_made_again(
    corpus: tuple[Path, Summary, list[str]], preparer: Preparer, tmp_path: Path
) -> None:
    folder, first, _ = corpus
    again = build_corpus(None, folder, CLIPS, SEED, preparer.landmarks, preparer.write_clip, voices=VOICES)
    assert again.kept == first.written and again.written == 0
    build_corpus(None, tmp_path, 1, SEED, preparer.landmarks, preparer.write_clip)
    for name in ("crops", "audio", "labels"):
        one, two = (np.load(root / "puppet_000000" / f"{name}.npy") for root in (folder, tmp_path))
        assert np.array_equal(one, two), name


def test_held_out_clips_can_be_made_alone(preparer: Preparer, tmp_path: Path) -> None:
    build_corpus(None, tmp_path, 1, SEED, preparer.landmarks, preparer.write_clip, held_out=True)
    (folder,) = tmp_path.glob("puppet_*")
    meta = json.loads((folder / "meta.json").read_text())
    assert folder.name == f"puppet_{VAL_EVERY - 1:06d}" and meta["split"] == "val"
    symbols = [symbol for symbol, start_s, end_s in meta["phones"] if 0 <= start_s < end_s]
    assert len(symbols) > 5 and any(symbols)


def test_silent_clips_are_in_both_splits() -> None:
    silent = {number for number in range(2000) if number % SILENT_EVERY == 7}
    held_out = {number for number in range(2000) if number % VAL_EVERY == VAL_EVERY - 1}
    assert silent & held_out and silent - held_out


def test_a_folder_without_a_list_is_an_error(tmp_path: Path, preparer: Preparer) -> None:
    with pytest.raises(FileNotFoundError):
        build_corpus(tmp_path, tmp_path / "out", 1, 1, preparer.landmarks, preparer.write_clip)
