"""Thresholds are met, or the failed ones are named."""

from __future__ import annotations

import pytest

from model.evaluation.evaluate import OWN, ROWS, evaluate, without_film
from model.evaluation.learned_metrics import LearnedMetrics
from model.evaluation.tables import rows, table
from model.evaluation.thresholds import (
    ALONE_THRESHOLDS,
    FINISHED_THRESHOLDS,
    PUPPET_THRESHOLDS,
    VIDEO_THRESHOLDS,
    failures,
    group_failures,
    one_line_summary,
)
from tests.model.evaluation.test_evaluate import Actor

# What needs a network, or the lips and the skin of a real face.
OF_PEOPLE = {
    "heard_aperture_r": 0.6,
    "heard_width_r": 0.6,
    "lip_voice": 0.4,
    "lip_voice_lag_ms": 12.5,
    "mouth_sharpness": 0.95,
}


def judged(way: str) -> list[dict]:
    found = rows(evaluate([Actor(0, way), Actor(1, way)], LearnedMetrics()), LearnedMetrics())
    return [row | OF_PEOPLE for row in found]


def test_lips_that_follow_the_voice_meet_every_threshold() -> None:
    found = judged("follow")
    found[1]["psnr"] = found[1]["psnr"] or 99.0  # nothing differs
    assert failures(found, PUPPET_THRESHOLDS) == failures(found, VIDEO_THRESHOLDS) == []
    assert one_line_summary(found).startswith("2 clips: aperture r 1, lag 0, width r 1, lip-voice match 0.4,")


@pytest.mark.parametrize(
    ("way", "measures"),
    [
        ("copy", ["silent_aperture_ratio", "with another voice"]),
        ("late", ["aperture_r is", "aperture_lag_frames is 3, it must be -1 to 1"]),
        ("still", ["aperture_r is unknown, it must be at least 0.55", "width_r"]),
    ],
)
def test_a_failed_threshold_is_named(way: str, measures: list[str]) -> None:
    found = " ".join(failures(judged(way), VIDEO_THRESHOLDS))
    for measure in measures:
        assert measure in found


def test_a_row_has_thresholds_of_its_own() -> None:
    found = judged("follow")
    found[3]["lip_voice"] = 0.1
    assert failures(found, VIDEO_THRESHOLDS) == ["lip_voice with shuffled audio is 0.1, it must be at least 0.35"]
    assert failures(found, FINISHED_THRESHOLDS, finished=True) == []


def test_a_video_without_its_film_is_judged_by_its_lips_and_voice_alone() -> None:
    measured = [without_film(one) for one in evaluate([Actor(0, "finished"), Actor(1, "finished")], LearnedMetrics())]
    assert all(set(one.values) <= {"faces_found", "voice_r"} and one.features is None for one in measured)
    found = rows(measured, LearnedMetrics())
    assert found[1]["aperture_r"] is found[1]["ssim"] is found[1]["aperture_lag_frames"] is None
    assert found[1]["voice_r"] is not None
    assert failures(found, ALONE_THRESHOLDS, finished=True) == [
        "lip_voice is unknown, it must be at least 0.38",
        "lip_voice_lag_ms is unknown, it must be -40 to 40",
    ]
    matching = [row | {"lip_voice": 0.5, "lip_voice_lag_ms": 12.5} for row in found]
    assert failures(matching, ALONE_THRESHOLDS, finished=True) == []


def test_what_is_not_finished_is_judged_with_other_voices_under_any_thresholds() -> None:
    found = judged("finished")
    assert failures(found, FINISHED_THRESHOLDS, finished=True) == []
    assert failures(found, FINISHED_THRESHOLDS) == [
        "with another voice nothing is known: judge at least two clips with voices"
    ]


def test_a_group_may_miss_a_threshold_by_a_fifth() -> None:
    one, two = judged("follow"), judged("follow")
    one[1] |= {"clips": 5, "lip_voice": 0.2, "lip_voice_lag_ms": -45, "heard_aperture_r": None}
    two[1] |= {"clips": 5, "lip_voice": 0.35, "mouth_sharpness": 0.5}
    few = [row | {"clips": 4, "lip_voice": 0.0} for row in judged("follow")]
    by = {"sex": {"man": one, "woman": two}, "skin tone": {"dark": few}, "speaker": {"x": one}}
    assert group_failures(by, VIDEO_THRESHOLDS) == [
        "sex man: lip_voice is 0.2, it must be at least 0.304",
        "sex woman: mouth_sharpness is 0.5, it must be 0.72 to 1.75",
    ]


def test_lips_that_close_as_often_at_open_sounds_do_not_close_at_p_b_m() -> None:
    found = judged("follow")
    found[1] |= {"bilabials_closed": 0.8, "others_closed": 0.4}
    assert failures(found, VIDEO_THRESHOLDS) == []
    found[1]["others_closed"] = 0.7
    assert failures(found, VIDEO_THRESHOLDS) == ["lips are closed at 80% of p b m and at 70% of open sounds"]


def test_rows_without_anything_fail_everything() -> None:
    empty = rows([], LearnedMetrics())
    assert [row["name"] for row in empty] == list(ROWS)
    failed = failures(empty, PUPPET_THRESHOLDS)
    assert len(failed) == len(PUPPET_THRESHOLDS) + 1
    assert failed[-1] == "with another voice nothing is known: judge at least two clips with voices"
    assert one_line_summary(empty) == "0 clips: none of the most important figures is known"


def test_the_summary_has_what_is_known() -> None:
    found = {"clips": 1, "lip_voice": 0.41}
    alone = [row | found if row["name"] == OWN else row for row in rows([], LearnedMetrics())]
    assert one_line_summary(alone) == "1 clip: lip-voice match 0.41"
    told = table({"rows": alone, "lpips_backbone": None}, {OWN: "result"})
    assert told.split() == ["result", "clips", "1", "lip_voice", "0.41"]
