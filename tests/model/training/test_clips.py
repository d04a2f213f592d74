import json
from pathlib import Path

import numpy as np
import pytest

from model.audio import AROUND_FRAME, SILENCE, mel_windows
from model.errors import CorpusError
from model.training.clips import (
    RUN,
    Corpus,
    choose_reference,
    clip_folders,
    load_clip,
    vary_mels,
)
from tests.model.clips import SIZE, write_clip, write_corpus


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_clip_hears_the_window_centred_on_each_frame(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("frames", "start", "length", "nearest"),
    [(100, 50, 1, 5), (100, 0, 5, 5), (12, 5, 5, 5), (4, 1, 1, 2), (6, 0, 5, 1)],
)
def test_reference_is_never_the_target_and_far_where_possible(
    frames: int, start: int, length: int, nearest: int
) -> None:
    openness = np.full(frames, np.nan, np.float32)
    chosen = {choose_reference(_rng(seed), openness, start, length) for seed in range(60)}
    distances = [max(start - c, c - (start + length - 1)) for c in chosen]
    assert min(distances) >= nearest
    assert frames < 20 or len(chosen) > 10


def test_no_other_frame_no_reference() -> None:
    with pytest.raises(ValueError, match="besides the target"):
        choose_reference(_rng(), np.zeros(1, np.float32), 0, 1)


def test_reference_is_mostly_calm() -> None:
    openness = np.linspace(0, 1, 101, dtype=np.float32)
    chosen = [openness[choose_reference(_rng(seed), openness, 50, 1)] for seed in range(300)]
    assert np.mean(chosen) < 0.36 and max(chosen) > 0.9


def test_face_batch_is_runs_then_singles(tmp_path: Path) -> None:
    corpus = Corpus(write_corpus(tmp_path / "c"), "train", SIZE, AROUND_FRAME)
    batch = corpus.faces(_rng(), runs=2, singles=3, others=4)
    assert batch.targets.shape == batch.references.shape == (13, SIZE, SIZE, 3)
    assert (batch.mels.shape, batch.others.shape) == ((13, 80, 32), (2, 4, 80, 32))
    for run in range(2):
        references = batch.references[run * RUN : (run + 1) * RUN]
        assert (references == references[0]).all()
    again = corpus.faces(_rng(), runs=2, singles=3, others=4)
    np.testing.assert_array_equal(batch.targets, again.targets)
    assert not np.array_equal(batch.targets, corpus.faces(_rng(1), 2, 3, 4).targets)


def test_moments_come_from_one_clip_each(tmp_path: Path) -> None:
    corpus = Corpus(write_corpus(tmp_path / "c"), "train", SIZE, AROUND_FRAME)
    batch = corpus.moments(_rng(), clips=2, moments=6)
    assert (batch.runs.shape, batch.mels.shape) == ((2, 6, RUN, SIZE, SIZE, 3), (2, 6, 80, 32))
    backgrounds = batch.runs[:, :, :, 0, 0]
    assert (backgrounds == backgrounds[:, :1, :1]).all()


def test_folders_a_killed_build_left_behind_are_no_clips(tmp_path: Path) -> None:
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
    corpus = Corpus(write_corpus(tmp_path / "c", train=4), "train", SIZE, AROUND_FRAME, cache_bytes=1)
    first = corpus.clip(0)
    corpus.clip(1)
    assert corpus.clip(0) is not first
    np.testing.assert_array_equal(corpus.clip(0).crops, first.crops)


def test_varied_sound_stays_in_range_and_digital_silence_stays_quiet() -> None:
    for seed in range(30):
        varied = vary_mels(_rng(seed), np.full((3, 80, 32), SILENCE, np.float32))
        assert varied.dtype == np.float32
        assert SILENCE <= varied.min() <= varied.max() < -1.5


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
        Corpus(tmp_path / "c", "train", SIZE, AROUND_FRAME)


def test_empty_and_missing_folders_are_said(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no folder"):
        Corpus(tmp_path / "none", "train", SIZE, AROUND_FRAME)
    with pytest.raises(CorpusError, match="holds 0 clips"):
        Corpus(tmp_path, "train", SIZE, AROUND_FRAME)
    with pytest.raises(CorpusError, match="holds 2 clips, none of them for 'val'"):
        Corpus(write_corpus(tmp_path / "c", train=2, val=0), "val", SIZE, AROUND_FRAME)
