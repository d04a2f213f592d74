"""Render a long clip in segments that any worker can take: plan the clip, render each segment, join the segments.

The decisions that all frames share are made once (`worker.pipeline.plan`) and saved. A segment renders and encodes its
own range of the output. Everything is local in time, so its frames are the frames of one pass. The join copies the
encoded frames into one file, adds the sound and adds up the statistics of the segments. Each of these steps only reads
what the steps before it left, and writes into a folder of its own. `app.core.records.segments` decides which worker
takes which step, and when the join is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from worker.media.encode import Encoder, are_alike, join
from worker.media.stage_timer import StageTimer
from worker.pipeline.dub_lips import dub_confidences
from worker.pipeline.dubs import output_sound
from worker.pipeline.face_stats import ClipStats, FaceStats, check_faces
from worker.pipeline.plan import make_plan
from worker.pipeline.render import finished_clip, render, run_plan, with_encoder_of
from worker.pipeline.run_context import FilePair, FinishedClip, PlannedClip, RunContext
from worker.pipeline.saved_plan import load_plan, save_plan

ENCODED_TWICE: Final = (
    "The pictures were encoded twice: different encoders made the segments, so all were encoded again to be joined."
)


class SegmentFacts(BaseModel):
    """Statistics of the faces of a segment, and the seconds of each of its stages."""

    findings: ClipStats  # the name of the field in the file
    stage_seconds: dict[str, float]


def begin(context: RunContext, output: Path, segment_s: float) -> FinishedClip | PlannedClip:
    """Render a clip of one segment into `output`; save the plan of a longer clip in the work folder.

    segment_s: longest duration of a segment in seconds. Raises LipSyncError.
    """
    timer = StageTimer()
    with context.detectors.borrow() as detector:
        plan = make_plan(context, detector, timer)
        count = count_segments(plan.frames, plan.source.rate, segment_s)
        if count == 1:
            return run_plan(plan, context, output, detector, timer)
    return PlannedClip(count, plan.frames, save_plan(plan, context.work_dir, timer.seconds()))


def render_segment(context: RunContext, plan_files: FilePair, number: int, count: int) -> FilePair:
    """Render and encode segment `number` of `count`; return its files in the work folder. Raises LipSyncError."""
    timer = StageTimer()
    plan, _ = load_plan(plan_files, context)
    first, last = span = span_of(number, count, plan.frames)
    files, check = FilePair(context.work_dir / "segment.mp4", context.work_dir / "segment.json"), context.monitor.check

    def encoded(gpu: int | None) -> ClipStats:
        with (
            context.detectors.borrow() as detector,
            Encoder(files.media, plan.source, last - first, None, context.options, check, gpu) as encoder,
        ):
            stats = render(plan, span, context, detector, encoder.write, timer)
            with timer.time("encode"):
                encoder.finish()
            return stats

    facts = SegmentFacts(findings=with_encoder_of(plan, context.codecs, encoded), stage_seconds=timer.seconds())
    files.facts.write_text(facts.model_dump_json(), encoding="utf-8")
    return files


def join_segments(
    context: RunContext, plan_files: FilePair, segments: Sequence[FilePair], output: Path, waited_s: float
) -> FinishedClip:
    """Join all segments, in order, into `output`; waited_s: seconds that the job ran before. Raises LipSyncError."""
    context.monitor.stage("finish")
    timer = StageTimer()
    plan, plan_seconds = load_plan(plan_files, context)
    stats = ClipStats(dubs=[FaceStats() for _ in plan.dubs])
    timer.add(plan_seconds)
    for segment in segments:
        facts = SegmentFacts.model_validate_json(segment.facts.read_text(encoding="utf-8"))
        stats.add(facts.findings)
        timer.add(facts.stage_seconds)
    check_faces(stats, context.options.face)
    context.monitor.frames(plan.frames, plan.frames)
    media = [segment.media for segment in segments]
    if not are_alike(media):
        plan = replace(plan, warnings=(*plan.warnings, ENCODED_TWICE))
    with timer.time("finish"):
        sound = output_sound(context.sources, plan.stretches, plan.source, plan.timeline)
        result = join(media, output, plan.source, plan.frames, sound, context.options, context.monitor.check)
    found = stats, dub_confidences(plan.dubs, stats, plan.source.rate)
    return finished_clip(plan, result, found, context, timer.seconds(), waited_s + timer.elapsed_s)


def count_segments(frames: int, rate: Fraction, segment_s: float) -> int:
    """Return the number of segments of a clip, which are similar in length and not longer than `segment_s` seconds."""
    return -(-frames // max(1, int(Fraction(segment_s) * rate)))


def span_of(number: int, count: int, frames: int) -> tuple[int, int]:
    """Return the output frames [first, last) of segment `number` of `count`."""
    return frames * number // count, frames * (number + 1) // count
