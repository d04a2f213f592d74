import json
from pathlib import Path

import numpy as np
import pytest

from model.audio import AROUND_FRAME, mel_windows
from model.errors import CorpusError
from model.training.clips import Corpus, clip_folders, load_clip
from tests.model.clips import SIZE, write_clip, write_corpus


def test_clip_has_the_mel_window_of_each_frame(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "a", frames=30)
    clip = load_clip(folder, SIZE, AROUND_FRAME)
    samples = np.load(folder / "audio.npy")
    np.testing.assert_array_equal(clip.mels, mel_windows(samples, np.arange(30) / 25, AROUND_FRAME))
    np.testing.assert_array_equal(clip.crops, np.load(folder / "crops.npy"))


@pytest.mark.parametrize("size", [16, 48])
def test_crops_are_resized_by_area(tmp_path: Path, size: int) -> None:
    folder = write_clip(tmp_path / "a")
    clip = load_clip(folder, size, AROUND_FRAME)
    assert clip.crops.shape == (25, size, size, 3)
    assert abs(float(clip.crops.mean()) - float(np.load(folder / "crops.npy").mean())) < 2


def test_folders_that_a_killed_build_left_behind_are_no_clips(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", train=2, val=1)
    write_clip(corpus / ".train_9.partial")
    assert [clip.name for clip in clip_folders(corpus)] == ["train_0", "train_1", "val_0"]


def test_labels_are_optional_and_checked(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip_7")
    clip = load_clip(folder, SIZE, AROUND_FRAME)
    assert np.isnan(clip.articulation).all() and np.isnan(clip.mesh).all()
    labels = np.stack([np.linspace(0, 0.125, 25), np.linspace(0.3, 0.5, 25)], axis=1).astype(np.float32)
    np.save(folder / "labels.npy", labels)
    measured = load_clip(folder, SIZE, AROUND_FRAME).articulation
    np.testing.assert_allclose(measured[:, 0], np.linspace(0, 1, 25), atol=1e-6)
    assert measured[12, 1] == pytest.approx(0, abs=1e-6) and measured[-1, 1] == pytest.approx(1.25)
    assert np.isnan(measured[:, 2:]).all()
    known = np.random.default_rng(0).random((25, 7)).astype(np.float32)
    np.save(folder / "articulation.npy", known)
    np.save(folder / "mesh.npy", np.zeros((25, 468, 2), np.float16))
    np.testing.assert_array_equal(load_clip(folder, SIZE, AROUND_FRAME).articulation, known)


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("labels", (24, 2), "its labels are for 24 frames, not 25"),
        ("labels", (25, 3), r"labels.npy must be \(25,2\)"),
        ("articulation", (24, 7), "its articulation is for 24 frames, not 25"),
        ("articulation", (25, 2), r"articulation.npy must be \(T,7\)"),
        ("mesh", (25, 478, 2), r"mesh.npy must be \(25,468,2\)"),
    ],
)
def test_labels_that_do_not_fit_are_named(tmp_path: Path, name: str, shape: tuple[int, ...], sentence: str) -> None:
    folder = write_clip(tmp_path / "clip_7")
    np.save(folder / f"{name}.npy", np.zeros(shape, np.float32))
    with pytest.raises(CorpusError, match=f"clip_7: {sentence}"):
        load_clip(folder, SIZE, AROUND_FRAME)


def test_memory_of_the_cache_is_bounded(tmp_path: Path) -> None:
    corpus = Corpus.open(write_corpus(tmp_path / "c", train=4), "train", SIZE, AROUND_FRAME, cache_bytes=1)
    first = corpus.clip(0)
    corpus.clip(1)
    assert corpus.clip(0) is not first
    np.testing.assert_array_equal(corpus.clip(0).crops, first.crops)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"crops": np.zeros((9, 8, 8), np.uint8)}, r"crops.npy must be \(T,S,S,3\) uint8"),
        ({"crops": np.zeros((9, 8, 9, 3), np.uint8)}, "crops.npy must be"),
        ({"crops": np.zeros((9, 8, 8, 3), np.float32)}, "crops.npy must be"),
        ({"crops": np.zeros((5, 8, 8, 3), np.uint8)}, "5 frames are too few, 6 are needed"),
        ({"audio": np.zeros(16_000, np.float32)}, "audio.npy must be"),
        ({"audio": np.zeros(10, np.int16)}, "less than half as long"),
    ],
)
def test_broken_clips_are_named(tmp_path: Path, change: dict[str, np.ndarray], sentence: str) -> None:
    folder = write_clip(tmp_path / "clip_7")
    for name, array in change.items():
        np.save(folder / f"{name}.npy", array)
    with pytest.raises(CorpusError, match=f"clip_7: .*{sentence}"):
        load_clip(folder, SIZE, AROUND_FRAME)


@pytest.mark.parametrize("content", [b"", b"no array"])
def test_unreadable_arrays_are_named(tmp_path: Path, content: bytes) -> None:
    folder = write_clip(tmp_path / "clip_7")
    (folder / "crops.npy").write_bytes(content)
    with pytest.raises(CorpusError, match="clip_7: its arrays cannot be read"):
        load_clip(folder, SIZE, AROUND_FRAME)


@pytest.mark.parametrize(
    ("meta", "sentence"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        (json.dumps({"fps": 25}), "cannot be read"),
        (json.dumps({"fps": 0, "split": "train"}), "makes no sense"),
        (json.dumps({"fps": 25, "split": "test"}), "makes no sense"),
    ],
)
def test_broken_meta_is_named(tmp_path: Path, meta: str, sentence: str) -> None:
    folder = write_clip(tmp_path / "c" / "clip_7")
    (folder / "meta.json").write_text(meta)
    with pytest.raises(CorpusError, match=f"clip_7: .*{sentence}"):
        Corpus.open(tmp_path / "c", "train", SIZE, AROUND_FRAME)


def test_empty_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no folder"):
        Corpus.open(tmp_path / "none", "train", SIZE, AROUND_FRAME)
    with pytest.raises(CorpusError, match="holds 0 clips"):
        Corpus.open(tmp_path, "train", SIZE, AROUND_FRAME)
    with pytest.raises(CorpusError, match="holds 2 clips, none of them for 'val'"):
        Corpus.open(write_corpus(tmp_path / "c", train=2, val=0), "val", SIZE, AROUND_FRAME)
