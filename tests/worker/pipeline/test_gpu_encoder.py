"""Jobs whose pictures a GPU encodes, or fails to; an ffmpeg in which software plays the GPU does it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from app.core.errors import ErrorCode, InputError
from app.core.jobs import JobOptions
from tests.fake_synthesizer import FakeSynthesizer
from tests.worker.clips import DETECTORS, RecordingMonitor, portrait, sources_of, write_clip
from tests.worker.gpu_ffmpeg import State, gpu_ffmpeg
from worker.media.encode import are_alike
from worker.media.mp4_header import h264_header
from worker.media.video_codecs import NVIDIA, SOFTWARE, VideoCodecs
from worker.pipeline.render import run
from worker.pipeline.run_context import FilePair, PlannedClip, RunContext
from worker.pipeline.saved_plan import load_plan
from worker.pipeline.segments import ENCODED_TWICE, begin, join_segments, render_segment

GPU = VideoCodecs(0, 0)
FRAME_BYTES = 320 * 320 * 3 // 2


def context_for(
    folder: Path, video: Path, voice: Path, encoder: State = "works", after: int = 0, **options: object
) -> RunContext:
    """Return the context of a worker with a GPU; after: bytes that a GPU that breaks takes before it does so."""
    folder.mkdir(exist_ok=True)
    chosen = JobOptions.model_validate({"preset": "ultrafast", "crf": 12, "sync_mode": "silence"} | options)
    network, monitor = FakeSynthesizer(paint=(0, 255, 0)), RecordingMonitor()
    ffmpeg = gpu_ffmpeg(folder, encoder=encoder, after=after)
    return RunContext(sources_of(video, voice), chosen, network, folder, monitor, DETECTORS, ffmpeg, codecs=GPU)


def pictures(path: Path) -> tuple[list[np.ndarray], list[Fraction]]:
    """Return pictures and their times in frames."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames = list(container.decode(video))
        per_frame = Fraction(video.time_base or 0) * Fraction(video.average_rate or 0)
        return [frame.to_ndarray(format="gray") for frame in frames], [(frame.pts or 0) * per_frame for frame in frames]


def difference(ones: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Return the largest mean difference of two pictures in levels."""
    return max(float(np.abs(one.astype(int) - other).mean()) for one, other in zip(ones, others, strict=True))


@pytest.mark.parametrize(
    ("state", "after", "is_of_gpu"),
    [
        pytest.param("works", 0, True, marks=pytest.mark.slow),
        pytest.param("refuses", 0, False, marks=pytest.mark.slow),
        ("breaks", 12 * FRAME_BYTES, False),
    ],
)
def test_a_gpu_that_fails_costs_time_and_not_the_job(
    tmp_path: Path, short_clip: Path, voice: Path, state: State, after: int, is_of_gpu: bool
) -> None:
    context = context_for(tmp_path / "work", short_clip, voice, state, after)
    outcome = run(context, tmp_path / "out.mp4")
    expected = run(replace(context, codecs=VideoCodecs()), tmp_path / "software.mp4")
    assert (outcome.result.frames, outcome.warnings) == (20, expected.warnings)
    assert outcome.report.face_coverage == expected.report.face_coverage == 1.0
    found, wanted = pictures(tmp_path / "out.mp4")[0], pictures(tmp_path / "software.mp4")[0]
    assert difference(found, wanted) < 2.0
    assert are_alike([tmp_path / "out.mp4", tmp_path / "software.mp4"]) is not is_of_gpu
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "software.mp4", "work"]


def test_a_fault_of_the_film_is_not_taken_for_one_of_the_gpu(tmp_path: Path, voice: Path) -> None:
    card = write_clip(tmp_path / "card.mp4", (portrait(blank=True) for _ in range(10)))
    context = context_for(tmp_path / "work", card, voice)
    with pytest.raises(InputError) as caught:
        run(context, tmp_path / "out.mp4")
    assert caught.value.code == ErrorCode.NO_FACE_DETECTED
    assert isinstance(context.monitor, RecordingMonitor) and context.monitor.stages.count("synthesize") == 1


def pieces_of(split: PlannedClip, contexts: list[RunContext]) -> list[FilePair]:
    """Render each segment with the next of the contexts, in turn."""
    pieces = []
    for number in range(split.segments):
        context = contexts[number % len(contexts)]
        folder = context.work_dir / f"segment{number}"
        folder.mkdir()
        pieces.append(render_segment(replace(context, work_dir=folder), split.plan, number, split.segments))
    return pieces


@pytest.mark.parametrize(
    ("planner", "others", "is_mixed"),
    [
        pytest.param("works", ["works"], False, marks=pytest.mark.slow),
        pytest.param("works", ["refuses", "works"], True, marks=pytest.mark.slow),
        ("works", ["works", None], True),
        pytest.param(None, ["works", None], False, marks=pytest.mark.slow),
    ],
)
def test_segments_of_different_encoders_become_one_stream(
    tmp_path: Path, gap_clip: Path, voice: Path, planner: State | None, others: list[State | None], is_mixed: bool
) -> None:
    """None: a worker without a GPU."""

    def worker(name: str, state: State | None) -> RunContext:
        context = context_for(tmp_path / name, gap_clip, voice, state or "refuses")
        return context if state else replace(context, codecs=VideoCodecs())

    planning = worker("plan", planner)
    split = begin(planning, tmp_path / "out.mp4", 1.0)
    assert isinstance(split, PlannedClip) and split.segments == 2
    plan, _ = load_plan(split.plan, planning)
    assert (plan.encoder, plan.source.codecs.decoder_gpu) == ((NVIDIA, 0) if planner else (SOFTWARE, None))
    pieces = pieces_of(split, [worker(f"worker{number}", state) for number, state in enumerate(others)])
    assert (len({h264_header(piece.media) for piece in pieces}) == 2) is is_mixed
    outcome = join_segments(worker("join", None), split.plan, pieces, tmp_path / "out.mp4", 1.0)
    assert (ENCODED_TWICE in outcome.warnings) is is_mixed
    found, times = pictures(tmp_path / "out.mp4")
    wanted = [picture for piece in pieces for picture in pictures(piece.media)[0]]
    assert times == list(range(40)) and difference(found, wanted) <= (1.5 if is_mixed else 0)
    assert outcome.result.frames == 40 and not list(tmp_path.glob("out.mp4?*"))
