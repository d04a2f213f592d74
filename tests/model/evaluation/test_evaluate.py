"""Who listens, who copies the film and who merely opens his mouth: the rows tell them apart."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from model.corpus.speech.speech import Phone
from model.evaluation.cases import Footage, Reading
from model.evaluation.evaluate import OWN, REAL, ROWS, SHUFFLED, SILENT, evaluate
from model.evaluation.learned_metrics import Judges
from model.evaluation.tables import rows, summarise, table
from model.framing import LOWER_FACE, Framing

FRAMES, SIZE = 70, 40


def levels(seed: int) -> np.ndarray:
    """Return how loud each frame is, 0..1: syllables between pauses."""
    rng = np.random.default_rng(seed)
    loud = np.convolve(rng.random(FRAMES + 8), np.hanning(5) / 2, "same")[4:-4]
    loud = (loud - loud.min()) / np.ptp(loud)
    loud[rng.choice(FRAMES, 9)] = 0.0
    return loud


def hum(loud: np.ndarray) -> np.ndarray:
    carrier = np.sin(np.arange(len(loud) * 640) * 0.3)
    return (carrier * np.repeat(loud, 640) * 20_000).astype(np.int16)


def heard(voice: np.ndarray) -> np.ndarray:
    return np.abs(voice.astype(float)).reshape(-1, 640).mean(axis=1) / 13_000


def footage(aperture: np.ndarray, shade: int = 200) -> Footage:
    """Return frames whose mouth is as high as the aperture, and the lips as they are."""
    crops = np.full((len(aperture), SIZE, SIZE, 3), (shade, shade - 45, shade - 70), np.uint8)
    lips = np.zeros((len(aperture), 4, 2), np.float32)
    lips[:, 1, 1] = aperture
    lips[:, 3, 0] = 0.5 - 0.3 * aperture
    for crop, height in zip(crops, aperture, strict=True):
        crop[26 : 26 + max(1, round(height * 42)), 15:25] = 20
    return Footage(crops, Reading(np.stack([lips[:, 1, 1], lips[:, 3, 0]], axis=1), lips))


@dataclass
class Actor:
    """A clip whose lips were filmed as loud as its voice, redrawn by a way of drawing."""

    seed: int
    way: str = "listen"
    fps: float = 25.0
    framing: Framing = LOWER_FACE
    phones: tuple[Phone, ...] = ()
    sex: str | None = None
    speaker: str = ""
    labels: np.ndarray | None = None
    asked: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.speaker = self.speaker or f"speaker {self.seed}"

    @property
    def name(self) -> str:
        return f"clip_{self.seed}"

    @property
    def voice(self) -> np.ndarray:
        return hum(levels(self.seed))

    def film(self) -> Footage:
        return footage(0.2 * levels(self.seed))

    def speak(self, filmed: Footage, voice: np.ndarray) -> Footage | None:
        loud = heard(voice)
        self.asked.append(float(loud.max()))
        if self.way == "copy":
            return footage(filmed.reading.mouth[:, 0])
        if self.way == "late":
            return footage(0.2 * np.concatenate([[0, 0, 0], loud[:-3]]))
        if self.way == "still":
            return footage(np.full(len(loud), 0.01))
        if self.way == "finished":
            return footage(0.2 * loud) if np.array_equal(voice, self.voice) else None
        return footage(0.2 * loud)


def judged(way: str, count: int = 3, **facts: Any) -> dict[str, dict[str, Any]]:
    takes = evaluate([Actor(seed, way, **facts) for seed in range(count)], Judges())
    return {row["name"]: row for row in summarise(takes, Judges())["rows"]}


def test_a_listener_follows_its_voice_and_rests_in_silence() -> None:
    found = judged("listen")
    assert found[OWN]["aperture_r"] > 0.99 and found[OWN]["width_r"] > 0.99
    assert found[OWN]["aperture_lag_frames"] == 0
    assert found[SILENT]["silent_aperture_ratio"] == found[OWN]["silent_aperture_ratio"] < 0.01
    assert abs(found[SHUFFLED]["aperture_r"]) < 0.3 and found[SHUFFLED]["owner_aperture_r"] > 0.99
    assert found[SHUFFLED]["chance_aperture_r"] == pytest.approx(found[SHUFFLED]["aperture_r"], abs=0.02)
    assert found[OWN]["ssim"] > 0.99 > found[SHUFFLED]["ssim"]


def test_a_stranger_is_another_speaker_where_there_is_one() -> None:
    one, same, other = Actor(0, speaker="a"), Actor(1, speaker="a"), Actor(2, speaker="b")
    takes = evaluate([one, same, other], Judges())
    lips = {take.clip: take.drawn[:, 0] for take in takes if take.row == SHUFFLED}
    assert lips["clip_0"] == pytest.approx(0.2 * heard(other.voice))
    assert lips["clip_2"] == pytest.approx(0.2 * heard(one.voice))
    alone = evaluate([one, same], Judges())
    assert [take.clip for take in alone if take.row == SHUFFLED] == ["clip_0", "clip_1"]


def test_owners_are_compared_in_time_whatever_their_frame_rates() -> None:
    slow, quick = Actor(0, fps=25.0), Actor(1, fps=50.0)
    takes = evaluate([slow, quick], Judges())
    (shuffled,) = (take for take in takes if take.clip == "clip_1" and take.row == SHUFFLED)
    expected = np.interp(np.arange(2 * FRAMES) / 2, np.arange(FRAMES), 0.2 * levels(0))[:FRAMES]
    found = np.corrcoef(shuffled.drawn[:, 0], expected)[0, 1]
    assert shuffled.values["owner_aperture_r"] == pytest.approx(found, abs=1e-3)


def test_who_copies_the_film_is_found_out_by_silence_and_by_another_voice() -> None:
    found = judged("copy")
    assert found[OWN]["aperture_r"] == pytest.approx(1.0)
    assert found[SILENT]["silent_aperture_ratio"] > 0.9
    assert found[SHUFFLED]["aperture_r"] == pytest.approx(1.0)
    assert abs(found[SHUFFLED]["owner_aperture_r"]) < 0.3


def test_who_comes_late_is_told_by_how_much() -> None:
    found = judged("late")
    assert found[OWN]["aperture_lag_frames"] == 3 and found[OWN]["voice_lag_frames"] == 3


def test_lips_that_do_not_move_have_no_correlation_and_no_range() -> None:
    found = judged("still")
    assert found[OWN]["aperture_r"] is None and found[OWN]["aperture_lag_frames"] is None
    assert found[OWN]["opening_ratio"] == 0 and found[OWN]["bilabials_closed"] is None


def test_the_real_video_is_like_itself() -> None:
    real = judged("listen")[REAL]
    ones = ("aperture_r", "width_r", "ssim", "sharpness_ratio", "detail_ratio", "jitter_ratio", "opening_ratio")
    assert [real[name] for name in ones] == [1.0] * len(ones)
    assert real["lmd"] == 0 and real["psnr"] is None and real["clips"] == 3


def test_labels_show_what_reading_costs() -> None:
    labels = np.stack([levels(0), 1 - levels(0)], axis=1).astype(np.float32)
    found = judged("listen", 1, labels=labels)
    assert found[REAL]["label_aperture_r"] > 0.99 and found[OWN]["label_width_r"] > 0.99


def test_closures_are_counted_apart_at_p_b_m_and_at_sounds_of_open_lips() -> None:
    quiet, loud = int(np.argmin(levels(0)[5:50])) + 5, int(np.argmax(levels(0)[:-2]))
    at_rest, wide_open = (quiet / 25, quiet / 25 + 0.03), (loud / 25, loud / 25 + 0.03)
    phones = (Phone("b", *at_rest), Phone("a", *wide_open), Phone("", *at_rest), Phone("f", *at_rest))
    row = judged("listen", 1, phones=phones)[OWN]
    assert (row["bilabials_closed"], row["others_closed"]) == (1.0, 0.0)
    row = judged("listen", 1, phones=(Phone("m", *wide_open), Phone("m", *at_rest), Phone("t", *at_rest)))[OWN]
    assert (row["bilabials_closed"], row["others_closed"]) == (0.5, 1.0)
    assert judged("listen", 1)[OWN]["bilabials_closed"] is None


def test_every_row_is_there_whatever_can_be_had() -> None:
    takes = evaluate([Actor(seed, "finished") for seed in range(2)], Judges())
    found = rows(takes, Judges())
    assert [row["name"] for row in found] == list(ROWS)
    assert [row["clips"] for row in found] == [2, 2, 0, 0]
    assert len({tuple(row) for row in found}) == 1
    assert found[3]["psnr"] is None
    assert [row["clips"] for row in rows(evaluate([Actor(0)], Judges()), Judges())] == [1, 1, 1, 0]


def test_figures_come_by_skin_tone_and_by_sex_and_by_clip() -> None:
    cases = [Actor(0, sex="man"), Actor(1, sex="woman"), Actor(2)]
    figures = summarise(evaluate(cases, Judges()), Judges())
    assert set(figures["by"]) == {"sex", "skin tone"}
    assert {sex: found[1]["clips"] for sex, found in figures["by"]["sex"].items()} == {"man": 1, "woman": 1}
    assert len(figures["clips"]) == 12 and figures["clips"][0]["clip"] == "clip_0"
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_judges_of_others_are_asked_where_they_are_there() -> None:
    judges = Judges(
        lpips=lambda drawn, filmed: float(np.abs(drawn.astype(float) - filmed).mean()),
        sync=lambda drawn, voice, fps: (7.0, math.nan),
        features=lambda crops: crops.reshape(len(crops), -1)[:, :3].astype(float),
        fid=lambda drawn, real: float(len(drawn) + len(real)),
    )
    found = {row["name"]: row for row in rows(evaluate([Actor(0), Actor(1)], judges), judges)}
    assert found[REAL]["lpips"] == 0 < found[OWN]["lpips"] < found[SILENT]["lpips"]
    assert found[OWN]["fid"] == 4 * FRAMES
    assert found[OWN]["lse_d"] == 7.0 and found[OWN]["lse_c"] is None and found[SILENT]["lse_d"] is None


def test_the_table_leaves_out_what_nobody_has() -> None:
    text = table(summarise(evaluate([Actor(0), Actor(1)], Judges()), Judges()))
    assert "aperture_r" in text and "lse_d" not in text
    assert len({len(line) for line in text.splitlines()}) == 1
