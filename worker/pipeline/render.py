"""One clip from its two files to its MP4: the stages in order, streaming, each in its own file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from app.core.checks import Check
from app.core.jobs import JobOptions, Report, ResultFacts
from model.arrays import U8
from worker.faces.detect import FaceDetector, borrow_detector
from worker.faces.track import Tracked, tracked_frames
from worker.media.encode import Encoder
from worker.media.stage_timer import Clock
from worker.pipeline.face_stats import Findings
from worker.pipeline.order import Monitor, Order, Outcome, Sources
from worker.pipeline.plan import Plan, make_plan
from worker.pipeline.prefetch import Ahead
from worker.pipeline.synthesis import Lips, SynthesizerLike, batches

__all__ = ["Monitor", "Outcome", "Sources", "run"]
AHEAD_FRAMES = 8


def run(
    sources: Sources,
    options: JobOptions,
    synthesizer: SynthesizerLike,
    output: Path,
    work_dir: Path,
    monitor: Monitor,
    ffmpeg: str | None = None,
) -> Outcome:
    """Lip-sync one clip into `output`; raises LipSyncError, and then leaves no output behind."""
    clock, order = Clock(), Order(sources, options, synthesizer, work_dir, monitor, ffmpeg)
    with borrow_detector() as detector:
        return run_plan(make_plan(order, detector, clock), order, output, detector, clock)


def run_plan(plan: Plan, order: Order, output: Path, detector: FaceDetector, clock: Clock) -> Outcome:
    """Do in one pass what was planned; raises LipSyncError."""
    monitor, options, sound = order.monitor, order.options, order.sources.sound
    with Encoder(output, plan.source, plan.frames, sound, options, monitor.check) as encoder:
        findings = render(plan, (0, plan.frames), order, detector, encoder.write, clock)
        findings.check(options.face)
        monitor.stage("finish")
        with clock.time("finish"):
            result = encoder.finish()
    return outcome_of(result, findings, order.synthesizer, clock.seconds(), clock.elapsed_s)


def render(
    plan: Plan,
    span: tuple[int, int],
    order: Order,
    detector: FaceDetector,
    write: Callable[[U8], None],
    clock: Clock,
) -> Findings:
    """Write the planes of the output frames [first, last), the chosen faces speaking, and say what they were like."""
    (first, last), source, monitor, options = span, plan.source, order.monitor, order.options
    monitor.stage("synthesize")
    findings, lips = Findings(), Lips(order.synthesizer, plan.voice, plan.rest, source, options, clock)

    def tracked(check: Check) -> Iterator[Tracked]:
        return tracked_frames(source, plan.timeline[first:last], detector, plan.chooser, clock, check)

    with Ahead(tracked, AHEAD_FRAMES, monitor.check) as frames:
        watched = findings.watch(frames, options, source.rate, first)
        for batch in batches(watched, order.synthesizer.batch_size, first):
            for planes in lips.speak(batch):
                with clock.time("encode"):
                    write(planes)
            monitor.frames(batch[-1].number + 1 - first, last - first)
            monitor.check()
    return findings


def outcome_of(
    result: ResultFacts,
    findings: Findings,
    synthesizer: SynthesizerLike,
    stage_seconds: dict[str, float],
    wall_s: float,
) -> Outcome:
    """Say what came of a clip that took so many seconds."""
    report = Report(
        face_coverage=round(findings.coverage, 4),
        face_height_px=findings.height_px,
        stage_seconds=stage_seconds,
        realtime_factor=round(wall_s / result.duration_s, 4),
        checkpoint=f"{synthesizer.config.architecture}-{synthesizer.config.image_size}",
        device=synthesizer.device_name,
    )
    return Outcome(result, report, findings.warnings())
