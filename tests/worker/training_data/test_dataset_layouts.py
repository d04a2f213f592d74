from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.core.errors import InputError
from worker.training_data.dataset_layouts import choose_splits, find_films, known_splits


def _files(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


ALIGN = "0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 34100 sp\n74500 75000 sil\n"


@pytest.mark.parametrize(
    ("files", "identity", "words"),
    [
        ({"s1/bbaf2n.mpg": "", "s1/align/bbaf2n.align": ALIGN}, "s1", "bin blue"),
        ({"s1/video/mpg_6000/bbaf2n.mpg": "", "s1/align/bbaf2n.align": ALIGN}, "s1", "bin blue"),
        ({"s3/lbax4n.mpg": ""}, "s3", "lay blue at x four now"),
        ({"main/633/00011.mp4": "", "main/633/00011.txt": "Text:  SOME WORDS\nConf:  4\n"}, "633", "some words"),
        ({"RD_Radio10_000.mp4": ""}, "RD_Radio10", None),
        ({"WDA_Someone_001.mp4": ""}, "WDA_Someone", None),
        ({"holiday.MOV": ""}, "holiday", None),
        ({"deep/er/film.mkv": ""}, "er", None),
        ({"2024.mp4": ""}, "2024", None),
    ],
)
def test_who_talks_and_what_is_said(tmp_path: Path, files: dict[str, str], identity: str, words: str | None) -> None:
    films = find_films(_files(tmp_path, **files))
    assert [(film.identity, film.words) for film in films] == [(identity, words)]


def test_names_are_apart_and_stay_the_same(tmp_path: Path) -> None:
    folder = _files(tmp_path / "a", **{"x/1.mp4": "", "y/1.mp4": "", "x/1.mkv": "", "notes.txt": "", "ünï.mp4": ""})
    names = [film.name for film in find_films(folder)]
    assert len(set(names)) == 4 and all(name.isascii() for name in names)
    moved = folder.rename(tmp_path / "b")
    assert [film.name for film in find_films(moved)] == names


@pytest.mark.parametrize("content", [None, {}, {"readme.txt": "nothing"}])
def test_a_folder_without_videos_is_an_error(tmp_path: Path, content: dict[str, str] | None) -> None:
    folder = tmp_path / "films"
    if content is not None:
        folder.mkdir()
        _files(folder, **content)
    with pytest.raises(InputError, match="films"):
        find_films(folder)


def test_splits_are_by_identity_and_by_seed() -> None:
    names = {f"s{number}" for number in range(400)}
    splits = choose_splits(names, 0.1, 7)
    held_out = {name for name, split in splits.items() if split == "val"}
    assert 20 < len(held_out) < 60 and choose_splits(names, 0.1, 7) == splits != choose_splits(names, 0.1, 8)
    fewer = choose_splits({name for name in names if len(name) < 4}, 0.1, 7)
    assert all(splits[name] == split for name, split in fewer.items())
    assert list(choose_splits({"a", "b", "c"}, 1e-9, 7).values()).count("val") == 1
    assert choose_splits({"alone"}, 1e-9, 7) == {"alone": "train"}


@pytest.mark.parametrize(
    ("known", "share", "held_out"),
    [
        ({}, 1e-9, {"b"}),
        ({"a": "train"}, 1e-9, {"b"}),
        ({"b": "train"}, 1e-9, {"a"}),  # the first of those who are still free
        ({"c": "val"}, 1e-9, {"c"}),
        ({"gone": "val"}, 1e-9, set()),
        ({"a": "train", "b": "train", "c": "train"}, 0.9, set()),
        ({"a": "val", "b": "val", "c": "val"}, 0, {"a", "b", "c"}),
    ],
)
def test_who_has_clips_stays_in_their_split(known: dict[str, str], share: float, held_out: set[str]) -> None:
    splits = choose_splits({"a", "b", "c"}, share, 4, known)  # whose order is b, a, c
    assert set(splits) == {"a", "b", "c"}
    assert {identity for identity, split in splits.items() if split == "val"} == held_out


def _clips(folder: Path, *clips: tuple[str, object]) -> Path:
    for name, meta in clips:
        (folder / name).mkdir(parents=True)
        (folder / name / "meta.json").write_text(json.dumps(meta))
    return folder


def test_splits_are_read_from_the_clips_that_are_there(tmp_path: Path) -> None:
    voice, puppet = {"voice": "v", "split": "val"}, {"identity": "astronaut", "split": "train"}
    folder = _clips(
        tmp_path,
        ("x_1", {"identity": "a", "split": "train"}),
        ("x_2", {"identity": "a", "split": "train"}),
        ("y_1", {"identity": "b", "split": "val"}),
        ("voice_1", voice),
        ("puppet_1", puppet),
        ("puppet_2", puppet | {"split": "val"}),
    )
    assert known_splits(folder) == {"a": "train", "b": "val", "astronaut": "train"}
    assert known_splits(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    ("meta", "words"),
    [({"identity": "a", "split": "val"}, "clips of a in both splits"), ({"split": "val"}, "who is"), (7, "who is")],
)
def test_clips_that_contradict_each_other_are_refused(tmp_path: Path, meta: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        known_splits(_clips(tmp_path, ("x", {"identity": "a", "split": "train"}), ("y", meta)))
