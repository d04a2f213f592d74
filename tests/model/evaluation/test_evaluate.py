"""The rows distinguish lips that follow the voice from lips that copy the film or do not move."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from model.corpus.speech.speech import Phone
from model.evaluation.cases import FaceCrops, Reading
from model.evaluation.evaluate import OWN, REAL, ROWS, SHUFFLED, SILENT, evaluate
from model.evaluation.heard import Hear
from model.evaluation.learned_metrics import LearnedMetrics
from model.evaluation.lip_voice_fit import fit
from model.evaluation.tables import rows, summarise, table
from model.framing import LOWER_FACE, Framing
from tests.model.evaluation.talks import talk

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


def frame_loudness(voice: np.ndarray) -> np.ndarray:
    return np.abs(voice.astype(float)).reshape(-1, 640).mean(axis=1) / 13_000


def face_crops(aperture: np.ndarray, shade: int = 200) -> FaceCrops:
    """Return frames whose mouth is as high as the aperture, and the lips as they are."""
    crops = np.full((len(aperture), SIZE, SIZE, 3), (shade, shade - 45, shade - 70), np.uint8)
    lips = np.zeros((len(aperture), 4, 2), np.float32)
    lips[:, 1, 1] = aperture
    lips[:, 3, 0] = 0.5 - 0.3 * aperture
    for crop, height in zip(crops, aperture, strict=True):
        crop[26 : 26 + max(1, round(height * 42)), 15:25] = 20
    return FaceCrops(crops, Reading(np.stack([lips[:, 1, 1], lips[:, 3, 0]], axis=1), lips))


@dataclass
class Actor:
    """A clip whose filmed lips open with the loudness of its voice, redrawn in one of several ways."""

    seed: int
    way: str = "follow"
    fps: float = 25.0
    framing: Framing = LOWER_FACE
    phones: tuple[Phone, ...] = ()
    sex: str | None = None
    speaker: str = ""
    labels: np.ndarray | None = None
    hear: Hear | None = None
    asked: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.speaker = self.speaker or f"speaker {self.seed}"

    @property
    def is_finished(self) -> bool:
        return self.way == "finished"

    @property
    def name(self) -> str:
        return f"clip_{self.seed}"

    @property
    def voice(self) -> np.ndarray:
        return hum(levels(self.seed))

    def filmed(self) -> FaceCrops:
        return face_crops(0.2 * levels(self.seed))

    def redraw(self, filmed: FaceCrops, voice: np.ndarray) -> FaceCrops | None:
        loud = frame_loudness(voice)
        self.asked.append(float(loud.max()))
        if self.way == "copy":
            return face_crops(filmed.reading.mouth[:, 0])
        if self.way == "late":
            return face_crops(0.2 * np.concatenate([[0, 0, 0], loud[:-3]]))
        if self.way == "still":
            return face_crops(np.full(len(loud), 0.01))
        if self.way == "finished":
            assert np.array_equal(voice, self.voice), "no other voice may be tried on a finished video"
            return face_crops(0.2 * loud)
        return face_crops(0.2 * loud)


def judged(way: str, count: int = 3, **facts: Any) -> dict[str, dict[str, Any]]:
    measurements = evaluate([Actor(seed, way, **facts) for seed in range(count)], LearnedMetrics())
    return {row["name"]: row for row in summarise(measurements, LearnedMetrics())["rows"]}


def test_lips_that_follow_the_voice_rest_in_silence() -> None:
    found = judged("follow")
    assert found[OWN]["aperture_r"] > 0.99 and found[OWN]["width_r"] > 0.99
    assert found[OWN]["aperture_lag_frames"] == 0
    assert found[SILENT]["silent_aperture_ratio"] == found[OWN]["silent_aperture_ratio"] < 0.01
    assert abs(found[SHUFFLED]["aperture_r"]) < 0.3 and found[SHUFFLED]["owner_aperture_r"] > 0.99
    assert found[SHUFFLED]["chance_aperture_r"] == pytest.approx(found[SHUFFLED]["aperture_r"], abs=0.02)
    assert found[OWN]["ssim"] > 0.99 > found[SHUFFLED]["ssim"]


def test_another_voice_is_that_of_another_speaker_if_there_is_one() -> None:
    one, same, other = Actor(0, speaker="a"), Actor(1, speaker="a"), Actor(2, speaker="b")
    measurements = evaluate([one, same, other], LearnedMetrics())
    lips = {measured.clip: measured.drawn[:, 0] for measured in measurements if measured.row == SHUFFLED}
    assert lips["clip_0"] == pytest.approx(0.2 * frame_loudness(other.voice))
    assert lips["clip_2"] == pytest.approx(0.2 * frame_loudness(one.voice))
    alone = evaluate([one, same], LearnedMetrics())
    assert [measured.clip for measured in alone if measured.row == SHUFFLED] == ["clip_0", "clip_1"]


def test_owners_are_compared_in_time_at_any_frame_rates() -> None:
    slow, quick = Actor(0, fps=25.0), Actor(1, fps=50.0)
    measurements = evaluate([slow, quick], LearnedMetrics())
    (shuffled,) = (found for found in measurements if found.clip == "clip_1" and found.row == SHUFFLED)
    expected = np.interp(np.arange(2 * FRAMES) / 2, np.arange(FRAMES), 0.2 * levels(0))[:FRAMES]
    found = np.corrcoef(shuffled.drawn[:, 0], expected)[0, 1]
    assert shuffled.values["owner_aperture_r"] == pytest.approx(found, abs=1e-3)


def test_lips_that_copy_the_film_fail_in_silence_and_with_another_voice() -> None:
    found = judged("copy")
    assert found[OWN]["aperture_r"] == pytest.approx(1.0)
    assert found[SILENT]["silent_aperture_ratio"] > 0.9
    assert found[SHUFFLED]["aperture_r"] == pytest.approx(1.0)
    assert abs(found[SHUFFLED]["owner_aperture_r"]) < 0.3


def test_late_lips_have_their_lag() -> None:
    found = judged("late")
    assert found[OWN]["aperture_lag_frames"] == 3 and found[OWN]["voice_lag_frames"] == 3


def test_lips_that_do_not_move_have_no_correlation_and_no_range() -> None:
    found = judged("still")
    assert found[OWN]["aperture_r"] is None and found[OWN]["aperture_lag_frames"] is None
    assert found[OWN]["opening_ratio"] == 0 and found[OWN]["bilabials_closed"] is None


def test_the_real_video_is_like_itself() -> None:
    real = judged("follow")[REAL]
    ones = ("aperture_r", "width_r", "ssim", "sharpness_ratio", "detail_ratio", "jitter_ratio", "opening_ratio")
    assert [real[name] for name in ones] == [1.0] * len(ones)
    assert real["lmd"] == 0 and real["psnr"] is None and real["clips"] == 3


def test_labels_are_compared_with_the_lips() -> None:
    labels = np.stack([levels(0), 1 - levels(0)], axis=1).astype(np.float32)
    found = judged("follow", 1, labels=labels)
    assert found[REAL]["label_aperture_r"] > 0.99 and found[OWN]["label_width_r"] > 0.99


def test_closures_are_counted_apart_at_p_b_m_and_at_sounds_of_open_lips() -> None:
    quiet, loud = int(np.argmin(levels(0)[5:50])) + 5, int(np.argmax(levels(0)[:-2]))
    at_rest, wide_open = (quiet / 25, quiet / 25 + 0.03), (loud / 25, loud / 25 + 0.03)
    phones = (Phone("b", *at_rest), Phone("a", *wide_open), Phone("", *at_rest), Phone("f", *at_rest))
    row = judged("follow", 1, phones=phones)[OWN]
    assert (row["bilabials_closed"], row["others_closed"]) == (1.0, 0.0)
    row = judged("follow", 1, phones=(Phone("m", *wide_open), Phone("m", *at_rest), Phone("t", *at_rest)))[OWN]
    assert (row["bilabials_closed"], row["others_closed"]) == (0.5, 1.0)
    assert judged("follow", 1)[OWN]["bilabials_closed"] is None


def test_every_row_is_there_even_without_clips() -> None:
    measurements = evaluate([Actor(seed, "finished") for seed in range(2)], LearnedMetrics())
    found = rows(measurements, LearnedMetrics())
    assert [row["name"] for row in found] == list(ROWS)
    assert [row["clips"] for row in found] == [2, 2, 0, 0]
    assert len({tuple(row) for row in found}) == 1
    assert found[3]["psnr"] is None
    assert [row["clips"] for row in rows(evaluate([Actor(0)], LearnedMetrics()), LearnedMetrics())] == [1, 1, 1, 0]


def test_figures_come_by_skin_tone_and_by_sex_and_by_clip() -> None:
    cases = [Actor(0, sex="man"), Actor(1, sex="woman"), Actor(2)]
    figures = summarise(evaluate(cases, LearnedMetrics()), LearnedMetrics())
    assert set(figures["by"]) == {"sex", "skin tone", "speaker"}
    assert {sex: found[1]["clips"] for sex, found in figures["by"]["sex"].items()} == {"man": 1, "woman": 1}
    assert len(figures["clips"]) == 12 and figures["clips"][0]["clip"] == "clip_0"
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_learned_metrics_are_used_if_they_are_there() -> None:
    learned = LearnedMetrics(
        lpips=lambda drawn, filmed: float(np.abs(drawn.astype(float) - filmed).mean()),
        sync=lambda drawn, voice, fps: (7.0, math.nan),
        features=lambda crops: crops.reshape(len(crops), -1)[:, :3].astype(float),
        frechet=lambda drawn, real: float(len(drawn) + len(real)),
        backbone="HED-VGG16",
    )
    found = {row["name"]: row for row in rows(evaluate([Actor(0), Actor(1)], learned), learned)}
    assert found[REAL]["lpips"] == 0 < found[OWN]["lpips"] < found[SILENT]["lpips"]
    assert found[OWN]["fed"] == 4 * FRAMES and found[OWN]["frechet_crops"] == 2 * FRAMES
    assert found[OWN]["fid"] is None
    text = table(summarise(evaluate([Actor(0)], learned), learned))
    assert "lpips (HED-VGG16)" in text and "fed (EfficientNet-Lite0)" in text and "frechet_crops" in text
    assert found[OWN]["lse_d"] == 7.0 and found[OWN]["lse_c"] is None and found[SILENT]["lse_d"] is None


def test_the_table_leaves_out_measures_without_values() -> None:
    text = table(summarise(evaluate([Actor(0), Actor(1)], LearnedMetrics()), LearnedMetrics()))
    assert "aperture_r" in text and "lse_d" not in text and "lpips" not in text and "frechet_crops" not in text
    assert len({len(line) for line in text.splitlines()}) == 1


@dataclass
class Talker:
    """A clip of numbers whose lips say its voice, redrawn by lips that say the voice that is asked for."""

    number: int
    fps: float = 25.0
    framing: Framing = LOWER_FACE
    phones: tuple[Phone, ...] = ()
    sex: str | None = None
    labels: np.ndarray | None = None
    is_finished: bool = False

    @property
    def name(self) -> str:
        return f"talk_{self.number}"

    @property
    def speaker(self) -> str:
        return f"films/speaker {self.number}.mp4"

    @property
    def voice(self) -> np.ndarray:
        return talk(self.number).voice

    def hear(self, voice: np.ndarray, times_s: np.ndarray) -> np.ndarray:
        articulation = np.zeros((len(times_s), 7), np.float32)
        articulation[:, :2] = self._said(voice).reading.mouth[: len(times_s)]
        return articulation

    def filmed(self) -> FaceCrops:
        return self._said(self.voice)

    def redraw(self, filmed: FaceCrops, voice: np.ndarray) -> FaceCrops | None:
        return self._said(voice) if voice.any() else filmed

    def _said(self, voice: np.ndarray) -> FaceCrops:
        lips = next(one.lips for one in map(talk, range(40)) if np.array_equal(one.voice, voice))
        noise = np.random.default_rng(0).integers(0, 255, (len(lips), SIZE, SIZE, 3)).astype(np.uint8)
        mouth = np.stack([np.ptp(lips[:, :, 1], axis=1), np.ptp(lips[:, :, 0], axis=1)], axis=1)
        return FaceCrops(noise, Reading(mouth, lips))


def test_lips_are_matched_with_voices_and_with_what_was_heard() -> None:
    learned = LearnedMetrics(lip_voice=fit([talk(number) for number in range(10, 16)]))
    figures = summarise(evaluate([Talker(number) for number in range(5)], learned), learned)
    found = {row["name"]: row for row in figures["rows"]}
    for row in (REAL, OWN, SHUFFLED):
        assert found[row]["lip_voice"] > 0.6 and abs(found[row]["lip_voice_lag_ms"]) <= 25
    assert found[SILENT]["lip_voice"] is None
    assert found[OWN]["chance_lip_voice"] < 0.4
    assert found[OWN]["heard_aperture_r"] > 0.99 and found[OWN]["drawn_heard_width_r"] > 0.99
    assert 0.5 < found[OWN]["mel_aperture_r"] < 1.0
    assert found[REAL]["heard_aperture_r"] is None
    assert found[OWN]["mouth_sharpness"] == 1.0
    assert set(figures["by"]["speaker"]) == {f"speaker {number}" for number in range(5)}
