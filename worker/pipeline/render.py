"""Render one clip from its input files to its MP4: the stages in order, each in its own module.

Frames stream through the stages, which run at the same time, in threads and child processes: ffmpeg decodes; `track`
finds and follows faces; `crop` cuts them out and finds their references; `draw` runs the network; the thread of the
caller blends, reads lips and writes to the ffmpeg that encodes. The queues between them are short, so memory does not
grow with length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from app.core.checks import Check
from app.core.jobs import Report, ResultFacts
from app.core.sound_warnings import sound_warnings
from model.arrays import U8
from worker.faces.detect import FaceDetector
from worker.faces.track import TrackedFrame, tracked_frames
from worker.media.encode import Encoder
from worker.media.stage_timer import StageTimer
from worker.pipeline.clip_cache import recalling
from worker.pipeline.face_stats import (
    FaceStats,
    check_faces,
    count_faces,
    face_warnings,
    limit_warnings,
    person_warnings,
)
from worker.pipeline.film_warnings import film_warnings
from worker.pipeline.plan import Plan, make_plan
from worker.pipeline.prefetch import Prefetch
from worker.pipeline.run_context import FinishedClip, RunContext
from worker.pipeline.sync_confidence import LipReader, sync_confidence, sync_warnings
from worker.pipeline.synthesis import CroppedBatch, DrawnBatch, LipSynthesis, batches

FRAMES_AHEAD: Final = 4  # that are tracked while others are cropped
BATCHES_AHEAD: Final = 1  # the same between later stages


def run(context: RunContext, output: Path, timer: StageTimer | None = None) -> FinishedClip:
    """Lip-sync one clip into `output`; raises LipSyncError, and then leaves no output.

    timer: a new one, for a caller that wants to know more than the report says.
    """
    timer = timer or StageTimer()
    with context.detectors.borrow() as detector:
        return run_plan(make_plan(context, detector, timer), context, output, detector, timer)


def run_plan(plan: Plan, context: RunContext, output: Path, detector: FaceDetector, timer: StageTimer) -> FinishedClip:
    """Render a planned clip in one pass; raises LipSyncError."""
    monitor, options, sound = context.monitor, context.options, context.sources.sound
    with Encoder(output, plan.source, plan.frames, sound, options, monitor.check) as encoder:
        stats = render(plan, (0, plan.frames), context, detector, encoder.write, timer)
        check_faces(stats, options.face)
        monitor.stage("finish")
        with timer.time("finish"):
            result = encoder.finish()
    return finished_clip(plan, result, stats, context, timer.seconds(), timer.elapsed_s)


def render(
    plan: Plan,
    span: tuple[int, int],
    context: RunContext,
    detector: FaceDetector,
    write: Callable[[U8], None],
    timer: StageTimer,
) -> FaceStats:
    """Render the output frames [first, last) of the span and return the statistics of their faces.

    `write` gets the planes of each frame in order, (H * 3/2, W) uint8 I420. Raises LipSyncError.
    """
    (first, last), source, monitor, options = span, plan.source, context.monitor, context.options
    monitor.stage("synthesize")
    synthesizer, stats = context.synthesizer, FaceStats()
    synthesis = LipSynthesis(synthesizer, plan, options, timer)
    lips = LipReader(plan.looked_at.frames, detector.placed_mesh, source.colour, plan.chooser)

    def track(check: Check) -> Iterator[TrackedFrame]:
        with recalling(context, source, detector) as finder:
            yield from tracked_frames(source, plan.timeline[first:last], finder, plan.chooser, timer, check)

    def crop(check: Check) -> Iterator[CroppedBatch]:
        with Prefetch(track, FRAMES_AHEAD, check, "track") as frames:
            counted = count_faces(frames, stats, options, source.rate, first)
            yield from map(synthesis.crop, batches(counted, synthesizer.batch_size, first))

    def draw(check: Check) -> Iterator[DrawnBatch]:
        with Prefetch(crop, BATCHES_AHEAD, check, "crop") as cropped:
            yield from map(synthesis.draw, cropped)

    with Prefetch(draw, BATCHES_AHEAD, monitor.check, "draw") as drawn:
        for frame, planes in chain.from_iterable(map(synthesis.blend, drawn)):
            if options.strength == 1.0:  # lips that shall move less fit the voice less
                with timer.time("lips"):
                    lips.read(frame.number, planes, frame.tracked.faces)
            with timer.time("encode"):
                write(planes)
            monitor.frames(frame.number + 1 - first, last - first)
            monitor.check()
    stats.lip_shapes = lips.shapes
    return stats


def finished_clip(
    plan: Plan,
    result: ResultFacts,
    stats: FaceStats,
    context: RunContext,
    stage_seconds: dict[str, float],
    wall_s: float,
) -> FinishedClip:
    """Return the finished clip with its report; wall_s: seconds from the start of the run to its end."""
    synthesizer = context.synthesizer
    confidence = sync_confidence(stats.lip_shapes, plan.looked_at, plan.source.rate)
    report = Report(
        face_coverage=round(stats.coverage, 4),
        face_height_px=stats.height_px,
        sync_confidence=confidence,
        stage_seconds=stage_seconds,
        realtime_factor=round(wall_s / result.duration_s, 4),
        checkpoint=f"{synthesizer.config.architecture}-{synthesizer.config.image_size}",
        device=synthesizer.device_name,
    )
    faces = [*face_warnings(stats), *person_warnings(plan.chooser), *limit_warnings(plan.references)]
    inputs = [*sound_warnings(context.sources.input), *film_warnings(plan.source.facts), *plan.source.warnings]
    return FinishedClip(result, report, [*inputs, *faces, *sync_warnings(confidence)])
