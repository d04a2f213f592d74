"""Do a long clip in segments that any worker can take: plan it, render each segment, join them.

What all frames share is decided once (`worker.pipeline.plan`) and saved. A segment renders its own range of the
output and encodes it alone; everything being local in time, its frames are those of one pass. The join copies the
encoded pictures into one file, adds the sound and adds up what the segments found. Each of the three only reads what
those before it left and writes into a folder of its own; who does which, and when the join is due, is decided in
`app.core.records.segments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from pydantic import BaseModel

from worker.faces.detect import borrow_detector
from worker.media.encode import Encoder, join
from worker.media.stage_timer import Clock
from worker.pipeline.face_stats import Findings
from worker.pipeline.order import Files, Order, Outcome, Split
from worker.pipeline.plan import load_plan, make_plan, save_plan
from worker.pipeline.render import outcome_of, render, run_plan


class SegmentFacts(BaseModel):
    """What one segment was like and how long each of its stages took."""

    findings: Findings
    stage_seconds: dict[str, float]


def begin(order: Order, output: Path, segment_s: float) -> Outcome | Split:
    """Do a clip of one segment into `output`; of a longer one save the plan in the work folder. Raises LipSyncError."""
    clock = Clock()
    with borrow_detector() as detector:
        plan = make_plan(order, detector, clock)
        count = count_segments(plan.frames, plan.source.rate, segment_s)
        if count == 1:
            return run_plan(plan, order, output, detector, clock)
    return Split(count, plan.frames, save_plan(plan, order.work_dir, clock.seconds()))


def render_segment(order: Order, plan_files: Files, number: int, count: int) -> Files:
    """Render and encode segment `number` of `count`; return its files in the work folder. Raises LipSyncError."""
    clock = Clock()
    plan, _ = load_plan(plan_files, order)
    first, last = span = span_of(number, count, plan.frames)
    made = Files(order.work_dir / "segment.mp4", order.work_dir / "segment.json")
    with (
        borrow_detector() as detector,
        Encoder(made.media, plan.source, last - first, None, order.options, order.monitor.check) as encoder,
    ):
        findings = render(plan, span, order, detector, encoder.write, clock)
        with clock.time("encode"):
            encoder.finish()
    facts = SegmentFacts(findings=findings, stage_seconds=clock.seconds())
    made.facts.write_text(facts.model_dump_json(), encoding="utf-8")
    return made


def join_segments(order: Order, plan_files: Files, segments: Sequence[Files], output: Path, waited_s: float) -> Outcome:
    """Join all segments, in order, into `output`; waited_s: how long the job ran before. Raises LipSyncError."""
    order.monitor.stage("finish")
    clock, findings = Clock(), Findings()
    plan, plan_seconds = load_plan(plan_files, order)
    clock.add(plan_seconds)
    for segment in segments:
        facts = SegmentFacts.model_validate_json(segment.facts.read_text(encoding="utf-8"))
        findings.add(facts.findings)
        clock.add(facts.stage_seconds)
    findings.check(order.options.face)
    order.monitor.frames(plan.frames, plan.frames)
    with clock.time("finish"):
        pictures, sound = [segment.media for segment in segments], order.sources.sound
        result = join(pictures, output, plan.source, plan.frames, sound, order.options, order.monitor.check)
    return outcome_of(result, findings, order.synthesizer, clock.seconds(), waited_s + clock.elapsed_s)


def count_segments(frames: int, rate: Fraction, segment_s: float) -> int:
    """Return into how many segments of like length, none longer than `segment_s`, a clip is cut."""
    return -(-frames // max(1, int(Fraction(segment_s) * rate)))


def span_of(number: int, count: int, frames: int) -> tuple[int, int]:
    """Return the output frames [first, last) of a segment."""
    return frames * number // count, frames * (number + 1) // count
