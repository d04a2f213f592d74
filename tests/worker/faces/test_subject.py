from __future__ import annotations

import json

import numpy as np
import pytest

from app.core.errors import ErrorCode, InputError
from model.face_points import CHIN, FOREHEAD
from worker.faces.detect import Face
from worker.faces.people import find_people
from worker.faces.subject import Chooser, choose_subject

LOOKS = {name: np.eye(162, dtype=np.float32)[index] for index, name in enumerate("ABCD")}


def face(x: float, y: float, height: float = 100.0, who: str = "", unlike: float = 0.0) -> Face:
    """Return a face; `who` gives it the pattern of a person, from which it differs by `unlike`."""
    landmarks = np.full((468, 2), (x, y), np.float32)
    landmarks[FOREHEAD, 1] -= height / 2
    landmarks[CHIN, 1] += height / 2
    pattern = None
    if who:
        one = (1 - unlike) * LOOKS[who]
        one[100] = np.sqrt(1 - (1 - unlike) ** 2)
        pattern = np.stack([one, np.roll(one, 50)])
    return Face(landmarks, 0.9, np.zeros(468, np.float32), pattern)


def xs(faces: list[Face]) -> list[float]:
    return [round(float(one.center[0])) for one in faces]


PAIR = [face(100, 100, 100), face(400, 100, 104)]
SPARSE = [PAIR, [face(110, 105, 103), face(395, 100, 101)], [face(405, 95, 105)]]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("all", [100, 400]),
        ("largest", [400]),
        ("index:0", [100]),
        ("index:1", [400]),
        ("point:120,130", [100]),
        ("point:420,60", [400]),
    ],
)
def test_choices(choice: str, expected: list[int]) -> None:
    assert xs(choose_subject(choice, SPARSE).pick(PAIR)) == expected


@pytest.mark.parametrize(
    ("choice", "sparse", "code"),
    [
        ("index:2", SPARSE, ErrorCode.FACE_NOT_FOUND),
        ("point:250,400", SPARSE, ErrorCode.FACE_NOT_FOUND),
        ("index:0", [[], []], ErrorCode.NO_FACE_DETECTED),
        ("point:1,1", [], ErrorCode.NO_FACE_DETECTED),
    ],
)
def test_a_choice_nobody_answers_to(choice: str, sparse: list[list[Face]], code: ErrorCode) -> None:
    with pytest.raises(InputError) as caught:
        choose_subject(choice, sparse)
    assert caught.value.code == code


def test_two_of_like_size_do_not_take_turns() -> None:
    chooser = choose_subject("largest", SPARSE)
    for left, right in ((104, 100), (100, 104), (130, 95)):
        assert xs(chooser.pick([face(100, 100, left), face(400, 100, right)])) == [400]


def test_without_a_pattern_the_place_decides() -> None:
    alone = [face(100, 100)]
    assert xs(choose_subject("largest", SPARSE).pick(alone)) == []  # somebody else, who is known
    assert xs(choose_subject("largest", SPARSE).pick([face(380, 110)])) == [380]
    assert xs(choose_subject("largest", SPARSE).pick([face(400, 100, 30)])) == []  # far in the background
    assert choose_subject("index:1", SPARSE).pick(alone) == []
    assert choose_subject("largest", []).pick([]) == []
    assert xs(choose_subject("largest", []).pick(PAIR)) == [400]


def test_passers_by_are_not_counted() -> None:
    sparse = [[face(100, 100)], [face(50, 300, 40), face(102, 100)], [face(99, 101)]]
    assert [round(person.x) for person in find_people(sparse)] == [100]


LEFT, RIGHT = face(100, 100, 100, "A"), face(400, 100, 120, "B")
SWAPPED = [face(100, 100, 120, "B"), face(400, 100, 100, "A")]
STATIC = [[LEFT, RIGHT]] * 4
CROWD = [face(60 * number, 100, 40, "C", 0.1 * number) for number in range(1, 6)]


@pytest.mark.parametrize(
    ("choice", "frame", "expected"),
    [
        ("largest", SWAPPED, [100]),  # a cut after which both sit on the other side
        ("index:0", SWAPPED, [400]),
        ("point:390,90", SWAPPED, [100]),
        ("largest", [face(400, 100, 100, "A")], []),  # a pan: the other one is now in the same place
        ("largest", [face(250, 90, 60, "B", 0.1)], [250]),  # the same person elsewhere, farther away
        ("largest", [face(400, 100, 110, "B", 0.5)], [400]),  # a grimace in the usual place
        ("largest", [face(250, 90, 110, "C")], []),  # a stranger
        ("largest", CROWD, []),
        ("index:1", CROWD, []),
        ("all", SWAPPED, [100, 400]),
    ],
)
def test_the_person_is_followed_and_not_the_place(choice: str, frame: list[Face], expected: list[int]) -> None:
    assert xs(choose_subject(choice, STATIC).pick(frame)) == expected


@pytest.mark.parametrize(
    ("frame", "is_sure"),
    [
        ([LEFT, RIGHT], True),
        (SWAPPED, True),
        ([face(250, 90, 110, "B", 0.3)], False),
        ([face(400, 100, 110, "B", 0.5)], False),
    ],
)
def test_a_doubt_is_told(frame: list[Face], is_sure: bool) -> None:
    choice = choose_subject("largest", STATIC).choose(frame)
    assert (len(choice.faces), choice.is_sure) == (1, is_sure)


@pytest.mark.parametrize(
    ("choice", "seen", "keeps"),
    [
        ("largest", RIGHT, True),
        ("largest", LEFT, False),  # somebody else
        ("largest", face(250, 90, 110, "B", 0.3), False),  # a doubt
        ("all", RIGHT, False),  # others may come
    ],
)
def test_only_a_known_and_sure_face_is_kept_without_a_search(choice: str, seen: Face, keeps: bool) -> None:
    assert choose_subject(choice, STATIC).keeps(seen) is keeps


def test_a_mirrored_person_is_the_same_person() -> None:
    mirrored = Face(LEFT.landmarks, 0.9, LEFT.depths, LEFT.pattern[::-1].copy())  # type: ignore[index]
    assert len(find_people([[LEFT], [mirrored], [LEFT], [mirrored]])) == 1


@pytest.mark.parametrize(
    ("sparse", "places"),
    [
        ([[RIGHT], [RIGHT], [LEFT, RIGHT], [LEFT, RIGHT], [RIGHT], [RIGHT]], [100, 400]),  # comes and goes
        ([[LEFT, RIGHT]] * 2 + [SWAPPED] * 3, [100, 400]),  # changes sides
        ([[LEFT]] * 3 + [[face(100, 100, 100, "B")]] * 3, [100, 100]),  # two who take turns in one place
        ([[LEFT]] * 5 + [[face(102, 98, 100, "A", 0.5)]], [100]),  # one odd view
        ([[LEFT]] * 5 + [[face(300, 98, 100, "A", 0.5)]], [100]),  # somebody passes by
        ([[LEFT, RIGHT]], [100, 400]),  # a still picture
    ],
)
def test_people_are_counted_from_the_left(sparse: list[list[Face]], places: list[int]) -> None:
    assert [round(person.x) for person in find_people(sparse)] == places


@pytest.mark.parametrize(("unlike", "looks"), [(0.02, 1), (0.1, 2)])
def test_two_who_look_alike_are_noticed(unlike: float, looks: int) -> None:
    (person,) = find_people([[LEFT]] * 4 + [[face(100, 100, 100, "A", unlike)]] * 4)
    assert person.looks == looks


def test_a_saved_chooser_decides_alike() -> None:
    for choice in ("all", "largest", "index:0", "point:100,100"):
        chooser = choose_subject(choice, [*STATIC, [face(250, 300, 40, "D")]])
        again = Chooser.of_facts(json.loads(json.dumps(chooser.facts())))
        assert again == chooser
        for one, two in zip(again.people, chooser.people, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one.patterns, two.patterns, strict=True))
        assert xs(again.pick(SWAPPED)) == xs(chooser.pick(SWAPPED))


@pytest.mark.parametrize(("target", "expected"), [(0, [100]), (1, [400]), (None, [400])])
def test_a_chooser_of_an_earlier_version_is_read(target: int | None, expected: list[int]) -> None:
    people = [{"x": x, "y": 100.0, "height_px": 100.0, "sightings": 3} for x in (100.0, 400.0)]
    saved = {"every": False, "people": people, "target": None if target is None else people[target], "strict": False}
    chooser = Chooser.of_facts(json.loads(json.dumps(saved)))
    assert xs(chooser.pick([face(100, 100, 100, "A"), face(400, 100, 104, "B")])) == expected
