from pathlib import Path

import numpy as np
import pytest

from model.audio import AROUND_FRAME, SILENCE
from model.training.batches import choose_reference, draw_faces, draw_moments, vary_mels
from model.training.clips import RUN, Corpus
from tests.model.clips import SIZE, write_corpus


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("frames", "start", "length", "nearest"),
    [(100, 50, 1, 5), (100, 0, 5, 5), (12, 5, 5, 5), (4, 1, 1, 2), (6, 0, 5, 1)],
)
def test_reference_is_never_the_target_and_far_if_possible(frames: int, start: int, length: int, nearest: int) -> None:
    openness = np.full(frames, np.nan, np.float32)
    chosen = {choose_reference(_rng(seed), openness, start, length) for seed in range(60)}
    distances = [max(start - c, c - (start + length - 1)) for c in chosen]
    assert min(distances) >= nearest
    assert frames < 20 or len(chosen) > 10


def test_a_clip_without_another_frame_has_no_reference() -> None:
    with pytest.raises(ValueError, match="besides the target"):
        choose_reference(_rng(), np.zeros(1, np.float32), 0, 1)


def test_reference_is_mostly_nearly_closed() -> None:
    openness = np.linspace(0, 1, 101, dtype=np.float32)
    chosen = [openness[choose_reference(_rng(seed), openness, 50, 1)] for seed in range(300)]
    assert np.mean(chosen) < 0.36 and max(chosen) > 0.9


def test_face_batch_is_runs_then_singles(tmp_path: Path) -> None:
    corpus = Corpus.open(write_corpus(tmp_path / "c"), "train", SIZE, AROUND_FRAME)
    batch = draw_faces(corpus, _rng(), runs=2, singles=3, others=4)
    assert batch.targets.shape == batch.references.shape == (13, SIZE, SIZE, 3)
    assert (batch.mels.shape, batch.others.shape) == ((13, 80, 32), (2, 4, 80, 32))
    for run in range(2):
        references = batch.references[run * RUN : (run + 1) * RUN]
        assert (references == references[0]).all()
    again = draw_faces(corpus, _rng(), runs=2, singles=3, others=4)
    np.testing.assert_array_equal(batch.targets, again.targets)
    assert not np.array_equal(batch.targets, draw_faces(corpus, _rng(1), 2, 3, 4).targets)


def test_moments_come_from_one_clip_each(tmp_path: Path) -> None:
    corpus = Corpus.open(write_corpus(tmp_path / "c"), "train", SIZE, AROUND_FRAME)
    batch = draw_moments(corpus, _rng(), clips=2, moments=6)
    assert (batch.runs.shape, batch.mels.shape) == ((2, 6, RUN, SIZE, SIZE, 3), (2, 6, 80, 32))
    backgrounds = batch.runs[:, :, :, 0, 0]
    assert (backgrounds == backgrounds[:, :1, :1]).all()


def test_varied_sound_stays_in_range_and_digital_silence_stays_quiet() -> None:
    for seed in range(30):
        varied = vary_mels(_rng(seed), np.full((3, 80, 32), SILENCE, np.float32))
        assert varied.dtype == np.float32
        assert SILENCE <= varied.min() <= varied.max() < -1.5
