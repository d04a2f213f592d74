from __future__ import annotations

import numpy as np
import pytest

from app.core.errors import ErrorCode, InputError
from model.face_points import CHIN, FOREHEAD
from worker.faces.detect import Face
from worker.faces.subject import choose_subject, find_people


def face(x: float, y: float, height: float = 100.0) -> Face:
    landmarks = np.full((468, 2), (x, y), np.float32)
    landmarks[FOREHEAD, 1] -= height / 2
    landmarks[CHIN, 1] += height / 2
    return Face(landmarks, 0.9, np.zeros(468, np.float32))


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


def test_a_small_face_near_the_anchor_is_background() -> None:
    assert xs(choose_subject("largest", SPARSE).pick([face(100, 100, 100), face(400, 100, 30)])) == [100]


def test_the_largest_is_whoever_is_there_and_a_strict_choice_is_not() -> None:
    alone = [face(100, 100)]
    assert xs(choose_subject("largest", SPARSE).pick(alone)) == [100]
    assert choose_subject("index:1", SPARSE).pick(alone) == []
    assert choose_subject("largest", []).pick([]) == []
    assert xs(choose_subject("largest", []).pick(PAIR)) == [100]


def test_passers_by_are_not_counted() -> None:
    sparse = [[face(100, 100)], [face(50, 300, 40), face(102, 100)], [face(99, 101)]]
    assert [round(person.x) for person in find_people(sparse)] == [100]
