"""Training clips are cut as serving cuts them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from model.corpus.clip_maker import Truth
from model.framing import LOWER_FACE
from worker.faces.crop import extract, face_transform
from worker.faces.detect import mouth_size
from worker.media.colour import ColourMatrix, planes_of_rgb
from worker.training_data.clip_writer import FacelessClipError, Preparer

COUNT = 14


@pytest.fixture(scope="module")
def preparer() -> Iterator[Preparer]:
    made = Preparer(size=96)
    yield made
    made.close()


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """The astronaut drifting to the right, 2 px a frame."""
    picture = astronaut()[:300]
    return [np.ascontiguousarray(picture[:, 120 - 2 * i : 420 - 2 * i]) for i in range(COUNT)]


def clip(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    crops, audio, labels = (np.load(folder / f"{name}.npy") for name in ("crops", "audio", "labels"))
    return crops, audio, labels


def test_crops_are_those_of_serving(preparer: Preparer, frames: list[np.ndarray], tmp_path: Path) -> None:
    assert preparer.write_clip(frames, np.ones(100_000, np.int16), tmp_path / "c", {"split": "train"}) == COUNT
    crops, audio, labels = clip(tmp_path / "c")
    assert crops.shape == (COUNT, 96, 96, 3) and len(audio) == COUNT * 640 and audio.min() == 1
    colour = ColourMatrix.BT709
    for index in (0, 6, COUNT - 1):
        landmarks = preparer.landmarks(frames[index])[0]
        transform = face_transform(landmarks, LOWER_FACE, 96)
        wanted = extract(planes_of_rgb(frames[index], colour), transform, colour)
        assert np.abs(crops[index].astype(int) - wanted).mean() < 8  # half a pixel beside the followed face
        unit = transform.scale * LOWER_FACE.side / 96
        assert labels[index] == pytest.approx(np.array(mouth_size(landmarks)) * unit, abs=0.02)


def test_the_head_moves_but_the_crop_follows(preparer: Preparer, frames: list[np.ndarray], tmp_path: Path) -> None:
    preparer.write_clip(frames, np.zeros(10, np.int16), tmp_path / "c", {})
    crops, audio, _ = clip(tmp_path / "c")
    middle = np.s_[:, 30:70, 30:66]
    drift = np.abs(np.diff(crops[middle].astype(int), axis=0)).mean()
    raw = np.abs(np.diff(np.stack(frames)[:, 80:160, 60:140].astype(int), axis=0)).mean()
    assert drift < 0.4 * raw
    assert not audio[10:].any()


def test_what_is_known_becomes_labels_in_the_crop(preparer: Preparer, frames: list[np.ndarray], tmp_path: Path) -> None:
    mesh = np.zeros((COUNT, 468, 2), np.float32)
    mesh[:, 14, 1], mesh[:, 291, 0] = 10.0, 40.0  # ten pixels open, forty wide, the rest at the frame's corner
    truth = Truth(mesh, np.arange(COUNT * 7, dtype=np.float32).reshape(COUNT, 7))
    preparer.write_clip(frames, np.zeros(10, np.int16), tmp_path / "c", {}, truth)
    _, _, labels = clip(tmp_path / "c")
    placed = face_transform(preparer.landmarks(frames[0])[0], LOWER_FACE, 96)
    assert labels[0] == pytest.approx(np.array([10.0, 40.0]) * placed.scale * LOWER_FACE.side / 96, rel=0.03)
    assert labels[:, 1] == pytest.approx(4 * labels[:, 0], rel=1e-4)
    np.testing.assert_array_equal(np.load(tmp_path / "c" / "articulation.npy"), truth.articulation)
    corner = placed.apply([(0.0, 0.0)])[0] / 48 - 1
    assert np.load(tmp_path / "c" / "mesh.npy")[0, 0] == pytest.approx(corner, rel=0.03)


def test_an_existing_clip_is_replaced_whole(preparer: Preparer, frames: list[np.ndarray], tmp_path: Path) -> None:
    for count in (5, 3):
        preparer.write_clip(frames[:count], np.zeros(9, np.int16), tmp_path / "c", {"identity": f"x{count}"})
    assert len(np.load(tmp_path / "c" / "crops.npy")) == 3
    assert json.loads((tmp_path / "c" / "meta.json").read_text()) == {"fps": 25, "identity": "x3"}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("count", [0, 8])
def test_a_clip_without_a_face_is_refused_and_leaves_nothing(preparer: Preparer, count: int, tmp_path: Path) -> None:
    grey = [np.full((120, 160, 3), 128, np.uint8)] * count
    with pytest.raises(FacelessClipError):
        preparer.write_clip(grey, np.zeros(9, np.int16), tmp_path / "c", {})
    assert not list(tmp_path.iterdir())


def test_a_preparer_travels_without_its_detector(preparer: Preparer) -> None:
    assert preparer.landmarks(astronaut()[:300, 90:390])
    copy = pickle.loads(pickle.dumps(preparer))
    assert copy.size == preparer.size and copy._detector is None
