"""The puppet: mesh, warp, inner mouth, and who it may be."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from model.articulation import Channel
from model.corpus.materials.people import Person, choose_person, read_people
from model.corpus.puppet.beard import grow_beard
from model.corpus.puppet.camera import Camera, blend_faces, complexion, head_motion
from model.corpus.puppet.mesh import LIPS, FaceFrame, jaw_weights, triangles
from model.corpus.puppet.puppet import HeadPose, Puppet
from model.corpus.puppet.shape import Shape, close_lips
from model.corpus.puppet.warp import draw_mesh, invert_affine
from model.errors import MaterialError
from worker.training_data.clip_writer import Preparer

Face = tuple[np.ndarray, np.ndarray]
SIZE = 200


@pytest.fixture(scope="module")
def face() -> Iterator[Face]:
    picture = np.ascontiguousarray(astronaut()[:300, 90:390])
    preparer = Preparer()
    found = preparer.landmarks(picture)
    preparer.close()
    assert len(found) == 1
    yield picture, found[0].astype(np.float64)


@pytest.fixture(scope="module")
def puppet(face: Face) -> Puppet:
    return Puppet(*face, SIZE, 70.0)


def row(**values: float) -> np.ndarray:
    made = np.zeros(len(Channel), np.float32)
    for name, value in values.items():
        made[Channel[name]] = value
    return made


POSES = {
    "rest": row(),
    "press": row(PRESS=1),
    "a": row(APERTURE=1, JAW=1),
    "i": row(APERTURE=0.3, WIDTH=0.9, JAW=0.2),
    "u": row(APERTURE=0.3, WIDTH=-1, PROTRUSION=1, JAW=0.25),
    "f": row(TUCK=1, APERTURE=0.05),
}


def gap(mesh: np.ndarray) -> float:
    return float(mesh[14, 1] - mesh[13, 1])


def width(mesh: np.ndarray) -> float:
    return float(mesh[291, 0] - mesh[61, 0])


def test_the_face_frame_is_a_similarity_and_its_inverse(face: Face) -> None:
    frame = FaceFrame.of(face[1])
    own = frame.to_face(face[1])
    assert np.allclose(frame.to_pixels(own), face[1])
    assert 0.8 < own[152, 1] < 1.2 and abs(own[1, 0]) < 0.1


def test_lip_points_are_listed_once() -> None:
    assert len(set(LIPS.index.tolist())) == len(LIPS.index) == 80


def test_closing_brings_parted_lips_together(face: Face) -> None:
    own = FaceFrame.of(face[1]).to_face(face[1])
    assert gap(own) > 0.02  # she smiles
    closed = close_lips(own)
    assert gap(closed) < 0.002 and closed[152, 1] < own[152, 1]
    assert np.allclose(closed[[33, 263, 1]], own[[33, 263, 1]])


def test_no_triangle_bridges_the_lips(puppet: Puppet) -> None:
    rest = puppet._rest
    found = triangles(rest, np.zeros((0, 2)))
    firm = (LIPS.ring > 0) & (LIPS.column > 1) & (LIPS.column < 9)  # at the corners lips do meet
    upper = set(LIPS.index[(LIPS.side < 0) & firm].tolist())
    lower = set(LIPS.index[(LIPS.side > 0) & firm].tolist())
    assert not [t for t in found.tolist() if upper & set(t) and lower & set(t)]


def test_the_jaw_carries_the_chin_and_not_the_eyes(puppet: Puppet) -> None:
    weights = jaw_weights(puppet._rest)
    assert weights[152] > 0.9 and weights[14] > 0.9 and weights[13] == 0
    assert weights[[33, 133, 362, 263, 1, 168, 10]].max() == 0


def test_articulation_moves_the_lips_as_named(puppet: Puppet) -> None:
    meshes = {name: puppet.bend(pose) for name, pose in POSES.items()}
    assert gap(meshes["rest"]) < 0.002 and gap(meshes["press"]) < 0.002
    assert gap(meshes["a"]) == pytest.approx(0.125, abs=0.01)
    assert 0.005 < gap(meshes["f"]) < 0.04
    assert width(meshes["u"]) < 0.8 * width(meshes["rest"]) < width(meshes["i"])
    assert meshes["a"][152, 1] - meshes["rest"][152, 1] > 0.05
    for mesh in meshes.values():
        assert np.allclose(mesh[[33, 263, 1, 10]], meshes["rest"][[33, 263, 1, 10]], atol=1e-2)


@pytest.mark.parametrize("name", POSES)
def test_frames_are_whole_and_the_upper_face_stays(puppet: Puppet, name: str) -> None:
    still, mesh = puppet.render(POSES["rest"], HeadPose())
    frame, moved = puppet.render(POSES[name], HeadPose())
    assert frame.shape == (SIZE, SIZE, 3) and frame.dtype == np.uint8
    eyes_px = int(mesh[[33, 263], 1].max()) + 8
    assert np.abs(frame[:eyes_px].astype(int) - still[:eyes_px]).mean() < 0.5
    if name not in ("rest", "press"):
        left, right = int(moved[61, 0]), int(moved[291, 0])
        top, bottom = int(mesh[0, 1]), int(moved[17, 1])
        assert np.abs(frame[top:bottom, left:right].astype(int) - still[top:bottom, left:right]).mean() > 4


def test_an_open_mouth_is_dark_and_shows_teeth(puppet: Puppet) -> None:
    frame, mesh = puppet.render(POSES["a"], HeadPose())
    x = int(mesh[13, 0])
    column = frame[int(mesh[13, 1]) + 1 : int(mesh[14, 1]), x - 2 : x + 3].mean(axis=(1, 2))
    assert column.max() > 2.2 * column.min()
    assert column.argmax() < column.argmin()  # teeth above, the dark below


def test_the_mesh_says_where_the_picture_went(face: Face) -> None:
    """A dot on the cheek is found where the moved mesh says."""
    picture, points = face[0].copy(), face[1]
    x, y = np.round(points[205] - 0.5).astype(int)
    picture[y - 2 : y + 3, x - 2 : x + 3] = (0, 255, 0)
    marked = Puppet(picture, points, SIZE, 70.0)
    frame, mesh = marked.render(POSES["a"], HeadPose(shift=(0.1, -0.05), roll=0.1, yaw=0.08))
    green = (frame[..., 1].astype(int) - frame[..., 0] > 60) & (frame[..., 1] > 120)
    found = np.argwhere(green).mean(axis=0)[::-1] + 0.5
    assert np.hypot(*(found - mesh[205])) < 1.5


@pytest.mark.parametrize(
    ("head", "moved"),
    [
        (HeadPose(shift=(0.1, 0.0)), (7.0, 0.0)),
        (HeadPose(shift=(0.0, 0.1)), (0.0, 7.0)),
    ],
)
def test_head_poses_move_the_mesh(puppet: Puppet, head: HeadPose, moved: tuple[float, float]) -> None:
    _, before = puppet.render(POSES["rest"], HeadPose())
    _, after = puppet.render(POSES["rest"], head)
    assert np.allclose(after - before, moved, atol=1e-6)


def test_a_blink_shuts_the_eyes(puppet: Puppet) -> None:
    _, before = puppet.render(POSES["rest"], HeadPose())
    _, after = puppet.render(POSES["rest"], HeadPose(blink=1.0))
    assert abs(after[159, 1] - after[145, 1]) < 0.2 * abs(before[159, 1] - before[145, 1])


def test_landmarks_of_another_shape_are_refused(face: Face) -> None:
    with pytest.raises(ValueError, match="468"):
        Puppet(face[0], face[1][:100], SIZE, 70.0)


def test_an_unbent_mesh_draws_the_picture_itself(face: Face) -> None:
    picture = face[0][:180, :180]
    corners = np.array([[[0, 0], [180, 0], [0, 180]], [[180, 0], [180, 180], [0, 180]]], np.float64)
    assert np.array_equal(draw_mesh(np.ascontiguousarray(picture), corners, corners, 180), picture)


def test_affine_maps_invert() -> None:
    matrix = np.array([[2.0, 0.5, 3.0], [-0.25, 1.5, -4.0]])
    again = invert_affine(invert_affine(matrix))
    assert np.allclose(again, matrix)


@pytest.mark.parametrize("seed", range(4))
def test_shapes_and_complexions_leave_a_face(face: Face, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = complexion(face[0], face[1], rng)
    assert picture.shape == face[0].shape and not np.array_equal(picture, face[0])
    corner = np.s_[:20, :20]
    assert np.abs(picture[corner].astype(int) - face[0][corner]).mean() < 12
    frame, mesh = Puppet(picture, face[1], SIZE, 70.0, shape=Shape.random(rng)).render(POSES["a"], HeadPose())
    assert frame.std() > 20 and mesh.min() > 0 and mesh.max() < SIZE


@pytest.mark.parametrize("seed", range(4))
def test_beards_grow_around_the_lips(face: Face, seed: int) -> None:
    picture, points = face
    bearded = grow_beard(picture, points, np.random.default_rng(seed))
    changed = np.abs(bearded.astype(int) - picture).mean(axis=2)

    def at(index: int) -> float:
        x, y = np.round(points[index]).astype(int)
        return float(changed[y - 1 : y + 2, x - 1 : x + 2].mean())

    assert max(at(164), at(200)) > 3 > max(at(10), at(33), at(16), at(6))


def test_blending_a_face_with_itself_changes_little(face: Face) -> None:
    picture, points = blend_faces(*face, *face, 0.5)
    assert np.allclose(points, face[1], atol=1e-6)
    assert np.abs(picture.astype(int) - face[0]).mean() < 2


def test_head_motion_is_smooth_and_repeats() -> None:
    poses = head_motion(100, np.random.default_rng(3))
    assert poses == head_motion(100, np.random.default_rng(3)) and len(poses) == 100
    assert np.abs(np.diff([pose.yaw for pose in poses])).max() < 0.06
    assert any(pose.blink > 0.9 for seed in range(5) for pose in head_motion(100, np.random.default_rng(seed)))


@pytest.mark.parametrize("seed", range(5))
def test_cameras_keep_the_picture_recognisable(puppet: Puppet, seed: int) -> None:
    frame, _ = puppet.render(POSES["rest"], HeadPose())
    rng = np.random.default_rng(seed)
    shot = Camera.random(rng).shoot(frame, rng)
    assert shot.shape == frame.shape and shot.dtype == np.uint8
    assert np.corrcoef(shot.ravel(), frame.ravel())[0, 1] > 0.85


def write_index(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "INDEX.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, ["file", "identity", "tier", "yaw"])
        writer.writeheader()
        writer.writerows(rows)
    for one in rows:
        path = folder / one["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_only_pictures_with_clear_rights_are_used(tmp_path: Path) -> None:
    rows = [
        {"file": "a.jpg", "identity": "one", "tier": "1", "yaw": "3"},
        {"file": "b.jpg", "identity": "one", "tier": "1", "yaw": ""},
        {"file": "c.jpg", "identity": "two", "tier": "2", "yaw": "-5"},
        {"file": "d.jpg", "identity": "three", "tier": "3", "yaw": "0"},
        {"file": "e.jpg", "identity": "four", "tier": "2", "yaw": "30"},
        {"file": "astronaut.jpg", "identity": "astronaut", "tier": "1", "yaw": "0"},
        {"file": "stylised/f.jpg", "identity": "five", "tier": "1", "yaw": "0"},
    ]
    write_index(tmp_path, rows)
    people = read_people(tmp_path)
    assert [(p.identity, len(p.pictures)) for p in people] == [("one", 2), ("two", 1)]
    write_index(tmp_path, rows[3:])
    with pytest.raises(MaterialError, match="no usable face"):
        read_people(tmp_path)


def test_small_series_are_drawn_too() -> None:
    people = [Person(f"flux_woman_{i:04d}", (), "train") for i in range(64)] + [Person("gen_cook", (), "train")]
    chance = np.random.default_rng(0)
    drawn = [choose_person(people, chance).series for _ in range(900)]
    assert 60 < drawn.count("gen") < 140 and set(drawn) == {"gen", "flux_woman"}
