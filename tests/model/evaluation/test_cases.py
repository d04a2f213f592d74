"""Prepared clips as cases: what is drawn, from which reference, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from model.checkpoint_config import CheckpointConfig
from model.errors import CorpusError
from model.evaluation.cases import Reading, phones_of, prepared_cases, reframe, resting_frames, sex_of
from model.framing import FOREHEAD_TO_CHIN, LOWER_FACE, Framing
from model.runtimes.torch_runtime import TorchRuntime
from model.synthesizer import Synthesizer
from tests.model.clips import SIZE, write_clip, write_corpus


class ShowReference(nn.Module):
    """Return the reference that was given."""

    def forward(self, faces: Tensor, mels: Tensor) -> Tensor:
        return faces[:, 3:]


def synthesizer(framing: Framing = LOWER_FACE) -> Synthesizer:
    return Synthesizer(
        TorchRuntime(ShowReference().eval(), "cpu", "fp32"), CheckpointConfig(image_size=SIZE, framing=framing), 4
    )


def darkness(crops: np.ndarray, framing: Framing) -> Reading:
    """Read how much of each crop is dark, as the aperture."""
    dark = (crops < 60).all(axis=3).mean(axis=(1, 2)).astype(np.float32)
    mouth = np.stack([dark, dark], axis=1)
    return Reading(mouth, np.zeros((len(crops), 4, 2), np.float32))


def test_held_out_clips_become_cases_and_are_drawn_with_their_calmest_frame(tmp_path: Path) -> None:
    cases = prepared_cases(write_corpus(tmp_path / "c"), synthesizer(), darkness)
    assert [case.name for case in cases] == ["val_0", "val_1"]
    filmed = cases[0].filmed()
    drawn = cases[0].redraw(filmed, cases[0].voice)
    assert drawn.crops.shape == filmed.crops.shape == (25, SIZE, SIZE, 3)
    chosen = resting_frames(filmed.reading.mouth[:, 0])
    np.testing.assert_array_equal(drawn.crops, filmed.crops[chosen])
    assert drawn.reading.mouth.mean() < filmed.reading.mouth.mean()
    assert len(cases[0].redraw(filmed, cases[0].voice[: 640 * 10]).crops) == 10


def test_a_reference_is_calm_and_not_near_its_frame() -> None:
    aperture = np.random.default_rng(0).random(80)
    chosen = resting_frames(aperture)
    assert (np.abs(chosen - np.arange(80)) >= 5).all()
    assert len(set(chosen.tolist())) <= 3
    assert aperture[chosen].max() <= np.sort(aperture[np.linspace(0, 79, 8).round().astype(int)])[2]
    assert resting_frames(np.full(6, np.nan)).tolist() == [5, 5, 5, 0, 0, 0]


def test_many_clips_are_drawn_evenly(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "c", train=1, val=9)
    names = [case.name for case in prepared_cases(folder, synthesizer(), darkness, limit=3)]
    assert names == ["val_0", "val_4", "val_8"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: None, "none of them held out"),
        (lambda folder: write_clip(folder / "v", split="val").joinpath("crops.npy").write_bytes(b"x"), "v: its arrays"),
        (lambda folder: write_clip(folder / "v", split="val").joinpath("meta.json").write_text("{"), "v: its meta"),
        (
            lambda folder: (
                write_clip(folder / "v", split="val")
                .joinpath("meta.json")
                .write_text(json.dumps({"fps": 25, "split": "val", "phones": [["a"]]}))
            ),
            "v: its phones",
        ),
    ],
)
def test_clips_that_cannot_be_used_are_refused(spoil, words: str, tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "c", train=2, val=0)
    spoil(folder)
    with pytest.raises(CorpusError, match=words):
        prepared_cases(folder, synthesizer(), darkness)
    with pytest.raises(CorpusError, match="no folder"):
        prepared_cases(tmp_path / "nowhere", synthesizer(), darkness)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((24, 2), np.float32), "v: its labels are for 24 frames, not 25"),
        (np.zeros(25, np.float32), r"v: labels.npy must be \(25,2\)"),
        (None, "v: its labels.npy cannot be read"),
    ],
)
def test_labels_of_a_puppet_that_do_not_fit_are_refused(labels: np.ndarray | None, words: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "v", split="val", labelled=True) / "labels.npy"
    if labels is None:
        path.write_bytes(b"\x93NUMPY half")
    else:
        np.save(path, labels)
    with pytest.raises(CorpusError, match=words):
        prepared_cases(tmp_path, synthesizer(), darkness)


def test_phones_come_from_the_clip() -> None:
    assert [phone.symbol for phone in phones_of({"phones": [["b", 0.1, 0.2], ["", 0.2, 1]]}, "x")] == ["b", ""]
    assert phones_of({}, "x") == ()


@pytest.mark.parametrize(
    ("identity", "sex"),
    [
        ("flux_man_0001", "man"),
        ("avatar_duo_hd_woman+flux_woman_7", "woman"),
        ("flux_man_0001+flux_woman_7", None),
        ("flux_man_0001+ovi_3", None),
        ("romance_manuel", None),
        ("", None),
    ],
)
def test_sex_is_known_if_every_face_of_a_blend_has_it(identity: str, sex: str | None) -> None:
    assert sex_of(identity) == sex


def test_reframed_crops_show_the_same_points() -> None:
    crops = np.zeros((1, 140, 140, 3), np.uint8)
    spots = [(0.0, 0.62), (0.3, 0.1), (-0.5, 0.9)]
    for x, y in spots:
        row, column = (round(at * 100) for at in (y - LOWER_FACE.top, x - LOWER_FACE.left))
        crops[0, row - 2 : row + 2, column - 2 : column + 2] = 255
    cut = reframe(crops, LOWER_FACE, FOREHEAD_TO_CHIN, 148)
    assert cut.shape == (1, 148, 148, 3)
    for x, y in spots:
        row, column = (round(at * 100) for at in (y - FOREHEAD_TO_CHIN.top, x - FOREHEAD_TO_CHIN.left))
        assert cut[0, row - 2 : row + 2, column - 2 : column + 2].min() > 100
    np.testing.assert_array_equal(reframe(crops, LOWER_FACE, LOWER_FACE, 140), crops)


def test_a_network_of_another_framing_is_given_its_own_crops(tmp_path: Path) -> None:
    cases = prepared_cases(write_corpus(tmp_path / "c"), synthesizer(FOREHEAD_TO_CHIN), darkness)
    near = prepared_cases(tmp_path / "c", synthesizer(), darkness)
    assert 1.05 * cases[0].filmed().reading.mouth.mean() < near[0].filmed().reading.mouth.mean()
