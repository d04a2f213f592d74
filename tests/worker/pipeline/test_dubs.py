"""Clips in which several voices are given to several faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.errors import ErrorCode, InputError
from app.core.jobs import JobOptions
from app.core.options import effective_options
from model.arrays import U8
from tests.fake_synthesizer import FakeSynthesizer
from tests.sounds import times, write_wav
from tests.worker.clips import (
    DETECTORS,
    RecordingMonitor,
    dubbed_sources,
    portrait,
    with_sound,
    write_clip,
    write_voice,
)
from tests.worker.pipeline.test_render import GREEN, greenness, pictures, planes_of
from tests.worker.pipeline.test_segments import SensitiveSynthesizer, do_segments
from worker.faces.detect import FaceDetector
from worker.faces.dub_tracks import tracked_dubs
from worker.faces.reference import ReferenceCrops
from worker.media.stage_timer import StageTimer
from worker.pipeline.dubs import Dub, dub_ranges, dubs_at, stretches_of
from worker.pipeline.plan import make_plan
from worker.pipeline.render import render, run
from worker.pipeline.run_context import FinishedClip, RunContext
from worker.pipeline.saved_plan import load_plan, save_plan
from worker.pipeline.synthesis import LipSynthesis, output_frames

LEFT, RIGHT = np.s_[:, :320], np.s_[:, 320:]


@pytest.fixture(scope="module")
def two_people(media_dir: Path) -> Path:
    """50 frames at 25 a second of two faces side by side, with a tone of 400 Hz."""
    frames = (np.hstack([portrait(shift=i * 0.4), portrait(shift=20 - i * 0.3)[:, ::-1]]) for i in range(50))
    silent = write_clip(media_dir / "two.mp4", frames)
    tone = write_wav(media_dir / "tone.wav", [0.2 * np.sin(2 * np.pi * 400 * times(2.0))])
    return with_sound(media_dir / "two.mov", silent, tone)


@pytest.fixture(scope="module")
def voices(media_dir: Path) -> list[Path]:
    return [
        write_voice(media_dir / "first.wav", [(0.0, 0.8)], 1.0),
        write_voice(media_dir / "second.wav", [(0.3, 1.0)], 1.5),
    ]


def dub(start_s: float, end_s: float, face: str = "", **options: object) -> dict[str, Any]:
    return {"start_s": start_s, "end_s": end_s, "audio": f"at {start_s}", "options": options} | (
        {"face": face} if face else {}
    )


def context_for(
    folder: Path,
    video: Path,
    voices: Sequence[Path],
    dubs: Sequence[dict[str, Any]],
    synthesizer: FakeSynthesizer | None = None,
    **options: object,
) -> RunContext:
    folder.mkdir(parents=True, exist_ok=True)
    chosen = JobOptions.model_validate({"preset": "ultrafast", "segments": dubs} | options)
    sources, network = dubbed_sources(video, *voices), synthesizer or FakeSynthesizer(GREEN)
    return RunContext(sources, effective_options(chosen), network, folder, RecordingMonitor(), DETECTORS)


def rendered(
    folder: Path, video: Path, voices: Sequence[Path], dubs: Sequence[dict[str, Any]], **options: object
) -> tuple[FinishedClip, Path]:
    output = folder / "out.mp4"
    return run(context_for(folder / "work", video, voices, dubs, None, **options), output), output


def painted(path: Path, half: Any) -> list[int]:
    """Return the numbers of the frames in whose half a mouth is painted."""
    return [number for number, picture in enumerate(pictures(path)) if greenness(picture[half]) > 200]


@dataclass(frozen=True)
class Film:
    frames: int
    rate: Fraction
    is_still: bool


@pytest.mark.parametrize(
    ("rate", "shown", "times_s", "span", "begin_s"),
    [
        (Fraction(25), range(100), (1.0, 2.0), (25, 50), 1.0),
        (Fraction(25), range(100), (0.0, 4.0), (0, 100), 0.0),
        (Fraction(25), range(100), (1.01, 1.11), (25, 28), 1.01),
        (Fraction(25), range(50, 100), (1.0, 2.5), (0, 13), -1.0),  # it begins before the part that is shown
        (Fraction(25), range(20, 60), (1.0, 4.0), (5, 40), 0.2),
        (Fraction(5), range(20), (1.01, 1.11), (5, 6), 1.01),  # at least a frame
        (Fraction(5), range(20), (3.95, 4.05), (19, 20), 3.95),
        (Fraction(30000, 1001), range(300), (1.001, 2.002), (30, 60), 1.001),
    ],
)
def test_a_stretch_is_rounded_to_frames(
    rate: Fraction, shown: range, times_s: tuple[float, float], span: tuple[int, int], begin_s: float
) -> None:
    options = JobOptions.model_validate({"segments": [dub(*times_s)]})
    (found,) = stretches_of(options, Film(300, rate, False), np.arange(shown.start, shown.stop))
    assert found.spans == (span,) and found.begin_s == pytest.approx(begin_s)
    assert found.end_s - found.begin_s == pytest.approx(times_s[1] - times_s[0])


def test_each_face_has_its_voice_in_its_time_alone(tmp_path: Path, two_people: Path, voices: list[Path]) -> None:
    dubs = [dub(0.4, 1.2, "index:0"), dub(0.8, 1.6, "index:1")]
    outcome, path = rendered(tmp_path, two_people, voices, dubs, crf=1)
    assert painted(path, LEFT) == list(range(10, 30)) and painted(path, RIGHT) == list(range(20, 40))
    before, after = planes_of(two_people), planes_of(path)
    for number in (*range(10), *range(40, 50)):
        assert np.abs(before[number].astype(int) - after[number]).mean() < 0.6
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    phase = np.exp(-2j * np.pi * 400 * np.arange(len(sound)) / 48_000)
    film = [float(2 * np.abs(np.mean((sound * phase)[first : first + 9600]))) for first in range(0, 96_000, 9600)]
    assert [amplitude > 0.15 for amplitude in film] == [True, True, *[False] * 6, True, True]
    assert outcome.report.face_coverage == 1.0 and outcome.result.frames == 50
    assert outcome.warnings == ["segments[1]: The voice is 0.70 s longer than its stretch; its end is cut off."]


def test_options_hold_for_their_stretch(tmp_path: Path, two_people: Path, voices: list[Path]) -> None:
    dubs = [dub(0.0, 0.4, "index:0"), dub(0.4, 0.8, "index:0", strength=0), dub(1.0, 1.4, "point:470,150")]
    _, path = rendered(tmp_path, two_people, [*voices, voices[0]], dubs, start_s=0.2, end_s=1.2)
    assert painted(path, LEFT) == list(range(5)) and painted(path, RIGHT) == list(range(20, 25))


def test_a_picture_speaks_as_long_as_its_segments(tmp_path: Path, voices: list[Path]) -> None:
    picture = tmp_path / "two.png"
    write_clip(picture, [np.hstack([portrait(), portrait()[:, ::-1]])], "25", "-frames:v", "1")
    dubs = [dub(0.0, 0.4, "index:0"), dub(0.6, 1.0, "index:1")]
    outcome, path = rendered(tmp_path, picture, voices, dubs)
    assert outcome.result.frames == 25
    assert painted(path, LEFT) == list(range(10)) and painted(path, RIGHT) == list(range(15, 25))


def test_a_stretch_without_a_face_is_told_and_the_others_are_drawn(
    tmp_path: Path, gap_clip: Path, voices: list[Path]
) -> None:
    dubs = [dub(0.0, 0.5), dub(0.6, 1.0)]
    outcome, path = rendered(tmp_path, gap_clip, voices, dubs)
    assert len([one for one in pictures(path) if greenness(one) > 200]) == 13
    assert "segments[1]: No face was found that gets the voice" in " ".join(outcome.warnings)
    with pytest.raises(InputError, match=r"segments\[1\]: The chosen face is missing at 0\.60 s") as caught:
        rendered(tmp_path / "failing", gap_clip, voices, [dubs[0], dub(0.6, 1.0, on_missing_face="fail")])
    assert caught.value.code == ErrorCode.FACE_NOT_FOUND


@pytest.mark.parametrize(
    ("face", "code", "said"),
    [
        ("index:7", ErrorCode.FACE_NOT_FOUND, r"segments\[1\]: Face 7 was asked for"),
        ("point:160,150", ErrorCode.OPTION_INVALID, r"segments\[1\] overlaps segments\[0\] in time"),
    ],
)
def test_a_choice_that_cannot_be_is_named(
    tmp_path: Path, two_people: Path, voices: list[Path], face: str, code: ErrorCode, said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        rendered(tmp_path, two_people, voices, [dub(0.0, 1.0, "index:0"), dub(0.2, 1.2, face)])
    assert caught.value.code == code


class WatchedDub:
    """Decisions on a dub that notes whether anything is prepared from its references."""

    def __init__(self, dub: Dub) -> None:
        self.options, self.begin_s, self.sound, self._dub, self.is_prepared = dub.options, 0.0, dub.sound, dub, False

    @property
    def references(self) -> ReferenceCrops:
        """Return the references of all people."""
        self.is_prepared = True
        return self._dub.references


def test_only_dubs_that_are_shown_are_prepared(
    tmp_path: Path, two_people: Path, voices: list[Path], detector: FaceDetector
) -> None:
    context = context_for(tmp_path, two_people, voices, [dub(0.0, 0.4, "index:0"), dub(1.2, 1.6, "index:1")])
    plan = make_plan(context, detector, StageTimer())
    watched = [WatchedDub(one) for one in plan.dubs]
    synthesis = LipSynthesis(context.synthesizer, watched, plan.source, StageTimer())
    assert [dubs_at(frame, plan.dubs) for frame in (0, 9, 10, 29, 30, 39, 40)] == [[0], [0], [], [], [1], [1], []]
    for number in dubs_at(0, plan.dubs):
        synthesis.prepare(number)
    assert [one.is_prepared for one in watched] == [True, False]
    watched[0].is_prepared = False
    ranges = dub_ranges(plan.dubs, plan.timeline, (0, 5))
    frames = tracked_dubs(plan.source, plan.timeline[:5], ranges, detector, StageTimer(), never_stop)
    numbered = list(output_frames(frames, 0, [one.stretch.spans for one in plan.dubs]))
    assert [frame.faces for frame in numbered] == [1] * 5
    synthesis.crop(numbered)
    assert [one.is_prepared for one in watched] == [False, False], "what was prepared ahead is used"


def _append_bytes(part: list[bytes], planes: U8) -> None:
    part.append(planes.tobytes())


def test_any_range_has_the_frames_of_one_pass(
    tmp_path: Path, two_people: Path, voices: list[Path], detector: FaceDetector
) -> None:
    dubs = [dub(0.2, 1.0, "index:0"), dub(0.52, 1.4, "index:1"), dub(1.0, 1.8, "index:0", padding=0.1)]
    context = context_for(tmp_path, two_people, [*voices, voices[0]], dubs, SensitiveSynthesizer())
    plan = make_plan(context, detector, StageTimer())
    whole: list[bytes] = []
    everything = render(plan, (0, 50), context, detector, partial(_append_bytes, whole), StageTimer())
    saved, _ = load_plan(save_plan(plan, tmp_path, {}), context)
    assert saved.dubs[0].role is saved.dubs[2].role
    parts, found = [], []
    for span in ((0, 3), (3, 16), (16, 27), (27, 50)):
        part: list[bytes] = []
        found.append(render(saved, span, context, detector, partial(_append_bytes, part), StageTimer()))
        parts += part
    assert parts == whole
    for findings in found[1:]:
        found[0].add(findings)
    assert found[0] == everything


@pytest.mark.slow
def test_a_clip_in_segments_is_joined_with_all_its_voices(tmp_path: Path, two_people: Path, voices: list[Path]) -> None:
    dubs = [dub(0.2, 1.0, "index:0"), dub(0.5, 1.4, "index:1")]
    context = context_for(tmp_path / "work", two_people, voices, dubs, SensitiveSynthesizer())
    joined, single = tmp_path / "joined.mp4", tmp_path / "single.mp4"
    split, outcome = do_segments(context, joined, 1.0)
    alone = context_for(tmp_path / "alone", two_people, voices, dubs, SensitiveSynthesizer())
    expected = run(alone, single)
    assert split.segments == 2 and outcome.warnings == expected.warnings
    sounds = []
    for path in (joined, single):
        with av.open(str(path)) as container:
            sounds.append(np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1))
    assert np.array_equal(sounds[0], sounds[1])
