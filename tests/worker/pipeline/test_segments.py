"""A clip rendered in segments equals the clip rendered in one pass, and is joined into one file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from app.core.errors import ErrorCode, InputError, ServiceError
from app.core.jobs import JobOptions
from model.arrays import U8
from model.checkpoint_config import default_checkpoint
from model.composition import FilmedCrops, Part
from model.interior import Interior
from model.known_pixels import PosedReference
from model.synthesizer import load_synthesizer
from tests.fake_synthesizer import FakeSynthesizer
from tests.worker.clips import DETECTORS, RecordingMonitor, portrait, sources_of, write_clip, write_voice
from worker.faces.detect import FaceDetector
from worker.media.stage_timer import StageTimer
from worker.pipeline.face_stats import ClipStats
from worker.pipeline.plan import make_plan
from worker.pipeline.render import render, run
from worker.pipeline.run_context import FinishedClip, PlannedClip, RunContext
from worker.pipeline.saved_plan import load_plan, save_plan
from worker.pipeline.segments import begin, count_segments, join_segments, render_segment, span_of


class SensitiveSynthesizer(FakeSynthesizer):
    """Synthesizer whose output depends on its sound, its references, the insides of mouths and movements."""

    def synthesize(
        self,
        crops: FilmedCrops,
        sound: np.ndarray,
        references: np.ndarray | Sequence[PosedReference] | None = None,
        interiors: Sequence[Interior | None] | None = None,
        movements: np.ndarray | None = None,
        parts: Sequence[Part | None] | None = None,
    ) -> np.ndarray:
        assert not (references is None or isinstance(references, np.ndarray))
        assert interiors is not None and movements is not None
        drawn = super().synthesize(crops, sound)
        loud = (sound.mean(axis=(1, 2)) * 32 + 128).clip(0, 255).astype(np.uint8)
        seen = np.stack([reference.seen for reference in references])
        drawn[:, 48:] = seen[:, 48:] // 2 + loud[:, None, None, None] // 2
        drawn[:, 72:80] = (movements.mean(axis=1) * 80).astype(np.uint8)[:, None, None, None]
        for crop, interior in zip(drawn, interiors, strict=True):
            crop[64:72] = 0 if interior is None else interior.upper.pixels[..., :3].mean(axis=(0, 1))
        return drawn


@pytest.fixture(scope="module")
def cuts_clip(media_dir: Path) -> Path:
    """160 frames, variable rate: a face, a cut to its mirror image, a card without a face, the face again."""

    def frames() -> Iterator[np.ndarray]:
        for i in range(160):
            if i < 50:
                yield portrait(shift=i * 0.4)
            elif i < 90:
                yield portrait(shift=-60.0 + i * 0.3)[:, ::-1]
            else:
                yield portrait(shift=i * 0.2, blank=i < 117)

    uneven = "setpts='(N+0.3*mod(N,3)+4*gt(N,70))/25/TB'"
    return write_clip(
        media_dir / "cuts.mp4",
        frames(),
        "25",
        "-vf",
        uneven,
        "-fps_mode",
        "vfr",
        "-c:v",
        "libx264",
        "-bf",
        "2",
        "-g",
        "40",
        "-pix_fmt",
        "yuv420p",
    )


@pytest.fixture(scope="module")
def long_voice(media_dir: Path) -> Path:
    return write_voice(media_dir / "long.wav", [(0.3, 1.9), (2.6, 3.1), (4.0, 6.5)], 7.0)


def context_for(
    folder: Path, video: Path, voice: Path, watcher: RecordingMonitor | None = None, **options: object
) -> RunContext:
    folder.mkdir(exist_ok=True)
    chosen = JobOptions.model_validate({"preset": "ultrafast"} | options)
    return RunContext(
        sources_of(video, voice), chosen, SensitiveSynthesizer(), folder, watcher or RecordingMonitor(), DETECTORS
    )


@pytest.mark.parametrize(
    ("clip", "options"),
    [
        ("cuts_clip", {"sync_mode": "silence"}),
        ("cuts_clip", {"sync_mode": "remap", "face": "all"}),
        ("moving_clip", {"sync_mode": "bounce"}),
        ("gap_clip", {"sync_mode": "loop", "start_s": 0.2}),
    ],
)
def test_any_range_has_the_frames_of_one_pass(
    tmp_path: Path,
    long_voice: Path,
    detector: FaceDetector,
    request: pytest.FixtureRequest,
    clip: str,
    options: dict[str, Any],
) -> None:
    context = context_for(tmp_path, request.getfixturevalue(clip), long_voice, **options)
    if clip == "cuts_clip":
        assert context.sources.input.video.variable_frame_rate
    plan = make_plan(context, detector, StageTimer())
    whole: list[bytes] = []
    everything = render(
        plan, (0, plan.frames), context, detector, lambda planes: whole.append(planes.tobytes()), StageTimer()
    )
    assert len(whole) == plan.frames == everything.frames
    saved, _ = load_plan(save_plan(plan, tmp_path, {}), context)
    count = 7
    parts: list[list[bytes]] = []
    found: list[ClipStats] = []
    for number in reversed(range(count)):  # in any order
        part: list[bytes] = []
        span = span_of(number, count, saved.frames)
        findings = render(saved, span, context, detector, partial(_append_bytes, part), StageTimer())
        parts.insert(0, part)
        found.insert(0, findings)
    assert list(itertools.chain(*parts)) == whole
    merged = found[0]
    for findings in found[1:]:
        merged.add(findings)
    assert merged == everything


def test_the_light_of_an_hdr_video_is_measured_once(tmp_path: Path, voice: Path, detector: FaceDetector) -> None:
    tags = "setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    coding = ("-c:v", "libx264", "-pix_fmt", "yuv420p")
    hdr = write_clip(tmp_path / "hdr.mp4", [portrait()] * 5, "25", "-vf", tags, *coding)
    context = context_for(tmp_path / "work", hdr, voice)
    plan = make_plan(context, detector, StageTimer())
    assert plan.source.conversion.is_hdr
    bright = replace(plan.source, conversion=replace(plan.source.conversion, peak=7.5))
    saved, _ = load_plan(save_plan(replace(plan, source=bright), context.work_dir, {}), context)
    assert saved.source.conversion == bright.conversion


def test_a_plan_from_before_there_were_several_voices_is_read(
    tmp_path: Path, voice: Path, moving_clip: Path, detector: FaceDetector
) -> None:
    context = context_for(tmp_path, moving_clip, voice)
    plan = make_plan(context, detector, StageTimer())
    files = save_plan(plan, tmp_path, {"faces": 1.5})
    with np.load(files.facts) as arrays:
        facts = json.loads(str(arrays["words"]))
        (dub,), (chooser,) = facts["dubs"], facts["choosers"]
        references = {name.removeprefix("role_0_"): arrays[name] for name in arrays if name.startswith("role_0_")}
        kept = {name: facts[name] for name in ("is_encoded", "voice_s", "stage_seconds")}
        looks = {name: dub[name] for name in ("looked_at", "heard_from_s")}
        words, heard = json.dumps({**kept, **looks, "chooser": chooser}), arrays["heard_0"]
    with files.facts.open("wb") as file:
        np.savez(file, words=np.array(words), heard=heard, **references)
    drawn: list[list[bytes]] = []
    for one in (plan, load_plan(files, context)[0]):
        drawn.append([])
        render(one, (0, 9), context, detector, partial(_append_bytes, drawn[-1]), StageTimer())
    assert drawn[0] == drawn[1] and len(drawn[0]) == 9
    assert load_plan(files, context)[1] == {"faces": 1.5}


@pytest.mark.slow
@pytest.mark.skipif(not default_checkpoint().is_file(), reason="no weights in the package")
def test_the_network_too_draws_the_frames_of_one_pass(
    tmp_path: Path, cuts_clip: Path, long_voice: Path, detector: FaceDetector
) -> None:
    context = context_for(tmp_path, cuts_clip, long_voice)
    context = replace(context, synthesizer=load_synthesizer(None, device="cpu"))
    plan = make_plan(context, detector, StageTimer())
    whole: list[bytes] = []
    render(plan, (0, plan.frames), context, detector, lambda planes: whole.append(planes.tobytes()), StageTimer())
    for first, last in ((0, 37), (37, 101), (101, plan.frames)):
        part: list[bytes] = []
        render(plan, (first, last), context, detector, partial(_append_bytes, part), StageTimer())
        assert part == whole[first:last]


def _append_bytes(part: list[bytes], planes: U8) -> None:
    part.append(planes.tobytes())


def do_segments(context: RunContext, output: Path, segment_s: float) -> tuple[PlannedClip, FinishedClip]:
    split = begin(context, output, segment_s)
    assert isinstance(split, PlannedClip)
    pieces = []
    for number in range(split.segments):
        folder = context.work_dir / f"segment{number}"
        folder.mkdir()
        own = replace(context, synthesizer=SensitiveSynthesizer(), work_dir=folder, monitor=RecordingMonitor())
        pieces.append(render_segment(own, split.plan, number, split.segments))
    return split, join_segments(context, split.plan, pieces, output, 2.0)


def streams(path: Path) -> tuple[list[np.ndarray], list[Fraction], np.ndarray, dict[str, str]]:
    """Return pictures, their times in frames, sound and metadata, by decoding."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames = list(container.decode(video))
        per_frame = Fraction(video.time_base or 0) * Fraction(video.average_rate or 0)
        times = [Fraction(frame.pts or 0) * per_frame for frame in frames]
        pictures: list[np.ndarray] = [frame.to_ndarray(format="gray") for frame in frames]
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
        return pictures, times, sound, dict(container.metadata)


@pytest.mark.parametrize("rate", ["25", "30000/1001"])
def test_the_joined_file_is_like_that_of_one_pass(tmp_path: Path, long_voice: Path, rate: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", (portrait(shift=i * 0.4) for i in range(110)), rate)
    joined, single = tmp_path / "joined.mp4", tmp_path / "single.mp4"
    context = context_for(tmp_path / "o'work", clip, long_voice, crf=12, output_height=200)
    split, outcome = do_segments(context, joined, 1.0)
    assert (split.segments, split.frames) == (5 if rate == "25" else 4, 110)
    alone = context_for(tmp_path / "alone", clip, long_voice, crf=12, output_height=200)
    expected = run(alone, single)
    sizes = {"bytes": 0, "sha256": ""}
    assert outcome.result.model_copy(update=sizes) == expected.result.model_copy(update=sizes)
    assert outcome.result.bytes == joined.stat().st_size
    assert outcome.warnings == expected.warnings
    assert (outcome.report.face_coverage, outcome.report.face_height_px) == (
        expected.report.face_coverage,
        expected.report.face_height_px,
    )
    assert set(outcome.report.stage_seconds) == set(expected.report.stage_seconds)
    assert outcome.report.realtime_factor > 2.0 / outcome.result.duration_s
    assert isinstance(context.monitor, RecordingMonitor) and context.monitor.progress[-1] == (110, 110)
    pictures, times, sound, metadata = streams(joined)
    pictures_once, times_once, sound_once, metadata_once = streams(single)
    assert times == times_once == list(range(110))
    assert np.array_equal(sound, sound_once) and metadata == metadata_once
    assert max(float(np.abs(a.astype(int) - b).mean()) for a, b in zip(pictures, pictures_once, strict=True)) < 2.0
    data = joined.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert [path.name for path in tmp_path.iterdir() if "joined" in path.name] == ["joined.mp4"]


def test_a_short_clip_is_done_at_once(tmp_path: Path, short_clip: Path, voice: Path) -> None:
    outcome = begin(context_for(tmp_path / "work", short_clip, voice), tmp_path / "out.mp4", 1.0)
    assert isinstance(outcome, FinishedClip) and outcome.result.frames == 20


def test_a_missing_face_fails_its_segment_and_says_when_in_the_whole(
    tmp_path: Path, gap_clip: Path, long_voice: Path
) -> None:
    context = context_for(tmp_path, gap_clip, long_voice, on_missing_face="fail", sync_mode="loop")
    split = begin(context, tmp_path / "out.mp4", 1.0)
    assert isinstance(split, PlannedClip)
    with pytest.raises(InputError, match=r"2\.16 s") as caught:  # frames 54 to 66 repeat the gap from 14 to 26
        render_segment(context, split.plan, 2, split.segments)
    assert caught.value.code == ErrorCode.FACE_NOT_FOUND


def test_no_face_in_any_segment_is_an_error_at_the_join(tmp_path: Path, long_voice: Path) -> None:
    clip = write_clip(tmp_path / "card.mp4", (portrait(blank=True) for _ in range(30)))
    with pytest.raises(InputError) as caught:
        do_segments(context_for(tmp_path / "work", clip, long_voice), tmp_path / "out.mp4", 0.7)
    assert caught.value.code == ErrorCode.NO_FACE_DETECTED


@pytest.mark.parametrize(
    ("frames", "rate", "segment_s", "count"),
    [
        (750, Fraction(25), 30.0, 1),
        (751, Fraction(25), 30.0, 2),
        (108_000, Fraction(30), 30.0, 120),
        (899, Fraction(30000, 1001), 30.0, 1),
        (5, Fraction(5), 1.0, 1),
        (6, Fraction(5), 1.0, 2),
    ],
)
def test_segments_cover_a_clip_evenly(frames: int, rate: Fraction, segment_s: float, count: int) -> None:
    assert count_segments(frames, rate, segment_s) == count
    spans = [span_of(number, count, frames) for number in range(count)]
    assert (spans[0][0], spans[-1][1]) == (0, frames)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))
    lengths = {last - first for first, last in spans}
    assert max(lengths) <= segment_s * rate and max(lengths) - min(lengths) <= 1


def test_a_piece_that_is_damaged_is_an_error(tmp_path: Path, moving_clip: Path, long_voice: Path) -> None:
    context = context_for(tmp_path, moving_clip, long_voice)
    split = begin(context, tmp_path / "out.mp4", 3.0)
    assert isinstance(split, PlannedClip)
    piece = render_segment(context, split.plan, 0, split.segments)
    piece.media.write_bytes(b"")
    with pytest.raises(ServiceError, match="encode_failed"):
        join_segments(context, split.plan, [piece], tmp_path / "out.mp4", 1.0)
    assert not list(tmp_path.glob("out.mp4*"))
