"""The page hides which system made a video; answers are counted for the right system."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from model.errors import RatingError
from model.evaluation.rating_page import (
    QUESTIONS,
    key_path,
    mean_marks,
    write_page,
)


@pytest.fixture
def systems(tmp_path: Path) -> dict[str, Path]:
    """Two systems with three videos in common; the bytes of a video name its system."""
    made = {}
    for system, names in {"ours": "abcd", "theirs": "abc"}.items():
        made[system] = tmp_path / system
        made[system].mkdir()
        for name in names:
            (made[system] / f"{name}.mp4").write_text(f"{system} {name}")
    return made


def study(page: Path) -> dict[str, Any]:
    found = re.search(r'id="study">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_is_blind_and_its_key_is_outside(systems: dict[str, Path], tmp_path: Path) -> None:
    page = write_page(tmp_path / "page", systems, seed=3)
    assert "ours" not in page.read_text() and "theirs" not in page.read_text()
    trials = study(page)["trials"]
    assert len(trials) == 3 and all(len(trial) == 2 for trial in trials)
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == ["index.html", "media"]
    with key_path(tmp_path / "page").open() as file:
        key = {row["video"]: row for row in csv.DictReader(file)}
    for trial in trials:
        assert len({key[name]["clip"] for name in trial}) == 1
        for name in trial:
            said = (tmp_path / "page" / "media" / name).read_text()
            assert said == f"{key[name]['system']} {key[name]['clip']}"
    assert not re.search(r'(src|href)="', page.read_text())


def test_a_seed_gives_the_same_page(systems: dict[str, Path], tmp_path: Path) -> None:
    pages = [write_page(tmp_path / name, systems, seed).read_text() for name, seed in (("p", 3), ("q", 3), ("r", 4))]
    assert pages[0] == pages[1] != pages[2]


def answer(path: Path, page: Path, marks: dict[str, list[int]]) -> Path:
    """Answer as a rater who gives each system's videos these marks, whatever the question."""
    with key_path(page.parent).open() as file:
        key = {row["video"]: row["system"] for row in csv.DictReader(file)}
    left = {system: list(given) for system, given in marks.items()}
    lines = ["rater,video,sync,quality,overall"]
    for name in (name for trial in study(page)["trials"] for name in trial):
        mark = left[key[name]].pop(0)
        lines.append(f'"{path.stem[0]}","{name}","{mark}","{mark}","{mark}"')
    path.write_text("\n".join(lines) + "\n")
    return path


def test_answers_give_mean_and_interval_by_system(systems: dict[str, Path], tmp_path: Path) -> None:
    page = write_page(tmp_path / "page", systems, seed=1)
    files = [
        answer(tmp_path / "a.csv", page, {"ours": [5, 4, 5], "theirs": [1, 2, 3]}),
        answer(tmp_path / "b.csv", page, {"ours": [4, 4, 5], "theirs": [1, 2, 3]}),
    ]
    found = {(one.system, one.question): one for one in mean_marks(tmp_path / "page", files)}
    assert set(found) == {(system, question) for system in systems for question in QUESTIONS}
    theirs = found["theirs", "sync"]
    assert (theirs.answers, theirs.mean) == (6, 2.0)
    # sample deviation 0.894, t(5) = 2.571
    assert theirs.low == pytest.approx(1.061, abs=1e-3) and theirs.high == pytest.approx(2.939, abs=1e-3)
    assert found["ours", "overall"].mean == 4.5
    nobody = mean_marks(tmp_path / "page", [])[0]
    assert (nobody.answers, nobody.mean, nobody.low) == (0, None, None)
    assert str(nobody).split() == ["ours", "sync", "-,", "0", "answers"]


def test_an_answer_that_was_saved_twice_counts_once(systems: dict[str, Path], tmp_path: Path) -> None:
    page = write_page(tmp_path / "page", systems, seed=1)
    first = answer(tmp_path / "a.csv", page, {"ours": [5, 4, 5], "theirs": [1, 2, 3]})
    again = answer(tmp_path / "a (1).csv", page, {"ours": [5, 4, 4], "theirs": [1, 2, 3]})
    once = mean_marks(tmp_path / "page", [first])
    twice = mean_marks(tmp_path / "page", [first, again])
    assert [one.answers for one in twice] == [one.answers for one in once] == [3] * 6
    assert twice != once, "the later answer is the one that counts"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("me,{video},6,1,1", "line 2: a mark must be 1 to 5"),
        ("me,{video},,1,1", "a mark must be"),
        ("me,{video},3,1", "a mark must be"),
        ("me,other.mp4,3,3,3", "does not belong"),
    ],
)
def test_wrong_answers_are_refused(line: str, words: str, systems: dict[str, Path], tmp_path: Path) -> None:
    page = write_page(tmp_path / "page", systems, seed=1)
    path = tmp_path / "wrong.csv"
    path.write_text("rater,video,sync,quality,overall\n" + line.format(video=study(page)["trials"][0][0]) + "\n")
    with pytest.raises(RatingError, match=words):
        mean_marks(tmp_path / "page", [path])


def test_a_page_that_cannot_be_made_is_refused(systems: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "z.mp4").touch()
    for others, words in (
        ({}, "at least two"),
        ({"no": tmp_path / "nowhere"}, "no folder"),
        ({"no": tmp_path / "empty"}, "holds no"),
        ({"no": lonely}, "same name"),
    ):
        with pytest.raises(RatingError, match=words):
            write_page(tmp_path / "page", {"ours": systems["ours"], **others}, 0)
    with pytest.raises(RatingError, match="cannot be read"):
        mean_marks(tmp_path / "page", [])


def test_a_page_that_is_being_answered_is_not_overwritten(systems: dict[str, Path], tmp_path: Path) -> None:
    before = write_page(tmp_path / "page", systems, seed=1).read_bytes()
    with pytest.raises(RatingError, match="holds something already"):
        write_page(tmp_path / "page", systems, seed=2)
    assert (tmp_path / "page" / "index.html").read_bytes() == before
