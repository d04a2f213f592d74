"""Render one clip from its input files to its MP4: the stages in order, each in its own module.

Frames stream through the stages, which run at the same time, in threads and child processes: ffmpeg decodes; `track`
finds and follows faces; `crop` cuts them out and finds their references; `draw` runs the network; the thread of the
caller blends, reads lips and writes to the ffmpeg that encodes. The queues between them are short, so memory does not
grow with length.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

from app.core.checks import Check
from app.core.jobs import Report, ResultFacts
from app.core.sound_warnings import sound_warnings
from model.arrays import U8
from worker.faces.detect import FaceDetector
from worker.faces.dub_tracks import DubbedFrame, tracked_dubs
from worker.media.encode import Encoder
from worker.media.prefetch import Prefetch
from worker.media.stage_timer import StageTimer
from worker.media.video_codecs import NVIDIA, GpuEncoderError, VideoCodecs
from worker.pipeline.clip_cache import recalling
from worker.pipeline.dub_lips import DubLipReader, dub_confidences
from worker.pipeline.dubs import dub_ranges, dubs_at, output_sound
from worker.pipeline.face_stats import (
    ClipStats,
    FaceStats,
    check_faces,
    count_faces,
    face_warnings,
    limit_warnings,
    person_warnings,
)
from worker.pipeline.film_warnings import film_warnings
from worker.pipeline.plan import Plan, make_plan
from worker.pipeline.run_context import FinishedClip, RunContext
from worker.pipeline.sync_confidence import sync_warnings
from worker.pipeline.synthesis import CroppedBatch, DrawnBatch, LipSynthesis, batches, output_frames

FRAMES_AHEAD: Final = 2  # that are tracked while others are cropped
BATCHES_AHEAD: Final = 1  # the same between later stages

T = TypeVar("T")
log = logging.getLogger(__name__)


def run(context: RunContext, output: Path, timer: StageTimer | None = None) -> FinishedClip:
    """Lip-sync one clip into `output`; raises LipSyncError, and then leaves no output.

    timer: a new one, for a caller that wants to know more than the report says.
    """
    timer = timer or StageTimer()
    with context.detectors.borrow() as detector:
        return run_plan(make_plan(context, detector, timer), context, output, detector, timer)


def run_plan(plan: Plan, context: RunContext, output: Path, detector: FaceDetector, timer: StageTimer) -> FinishedClip:
    """Render a planned clip in one pass; raises LipSyncError."""
    monitor, options = context.monitor, context.options

    def encoded(gpu: int | None) -> FinishedClip:
        sound = output_sound(context.sources, plan.stretches, plan.source, plan.timeline)
        with Encoder(output, plan.source, plan.frames, sound, options, monitor.check, gpu) as encoder:
            stats = render(plan, (0, plan.frames), context, detector, encoder.write, timer)
            check_faces(stats, options.face)
            monitor.stage("finish")
            with timer.time("finish"):
                encoder.end_input()
                confidences = dub_confidences(plan.dubs, stats, plan.source.rate)  # while the last frames are encoded
                result = encoder.finish()
        return finished_clip(plan, result, (stats, confidences), context, timer.seconds(), timer.elapsed_s)

    return with_encoder_of(plan, context.codecs, encoded)


def with_encoder_of(plan: Plan, codecs: VideoCodecs, encoded: Callable[[int | None], T]) -> T:
    """Call `encoded` with the GPU that encodes, if the plan wants one and this worker has it, else with None.

    Where the GPU's encoder fails, the frames are rendered anew for software.
    """
    if plan.encoder == NVIDIA and codecs.encoder_gpu is not None:
        try:
            return encoded(codecs.encoder_gpu)
        except GpuEncoderError as error:
            message = "the encoder of the GPU failed, so the frames are rendered again and encoded in software: %s"
            log.warning(message, error.said.strip())
    return encoded(None)


def render(
    plan: Plan,
    span: tuple[int, int],
    context: RunContext,
    detector: FaceDetector,
    write: Callable[[U8], None],
    timer: StageTimer,
) -> ClipStats:
    """Render the output frames [first, last) of the span and return the statistics of their faces.

    `write` gets the planes of each frame in order, (H * 3/2, W) uint8 I420. Raises LipSyncError.
    """
    (first, last), source, monitor = span, plan.source, context.monitor
    monitor.stage("synthesize")
    synthesizer, stats = context.synthesizer, ClipStats(dubs=[FaceStats() for _ in plan.dubs])
    synthesis = LipSynthesis(synthesizer, plan.dubs, source, timer)
    lips = DubLipReader(plan.dubs, detector.placed_mesh, source.colour)

    def track(check: Check) -> Iterator[DubbedFrame]:
        ranges = dub_ranges(plan.dubs, plan.timeline, span)
        with recalling(context, source, detector) as (finder, kept):
            yield from tracked_dubs(source, plan.timeline[first:last], ranges, finder, timer, check, kept)

    def crop(check: Check) -> Iterator[CroppedBatch]:
        with Prefetch(track, FRAMES_AHEAD, check, "track") as frames:
            for number in dubs_at(first, plan.dubs):  # while the decoder starts
                synthesis.prepare(number)
            numbered = output_frames(frames, first, [dub.stretch.spans for dub in plan.dubs])
            counted = count_faces(numbered, stats, [dub.stretch for dub in plan.dubs], source.rate)
            yield from map(synthesis.crop, batches(counted, synthesizer.batch_size))

    def draw(check: Check) -> Iterator[DrawnBatch]:
        with Prefetch(crop, BATCHES_AHEAD, check, "crop") as cropped:
            yield from map(synthesis.draw, cropped)

    with Prefetch(draw, BATCHES_AHEAD, monitor.check, "draw") as drawn:
        for frame, planes in chain.from_iterable(map(synthesis.blend, drawn)):
            with timer.time("lips"):
                lips.read(frame, planes)
            with timer.time("encode"):
                write(planes)
            monitor.frames(frame.number + 1 - first, last - first)
            monitor.check()
    for dub, shapes in zip(stats.dubs, lips.shapes, strict=True):
        dub.lip_shapes = shapes
    return stats


def finished_clip(
    plan: Plan,
    result: ResultFacts,
    found: tuple[ClipStats, Sequence[float | None]],
    context: RunContext,
    stage_seconds: dict[str, float],
    wall_s: float,
) -> FinishedClip:
    """Return the finished clip with its report.

    found: the statistics of the faces, and how well the lips of each dub fit its voice. wall_s: seconds from the start
    of the run to its end.
    """
    stats, confidences = found
    synthesizer, total = context.synthesizer, stats.total
    report = Report(
        face_coverage=round(total.coverage, 4),
        face_height_px=total.height_px,
        sync_confidence=min((one for one in confidences if one is not None), default=None),
        stage_seconds=stage_seconds,
        realtime_factor=round(wall_s / result.duration_s, 4),
        checkpoint=f"{synthesizer.config.architecture}-{synthesizer.config.image_size}",
        device=synthesizer.device_name,
    )
    heard = sound_warnings(context.sources.input, context.options)
    warnings = [*heard, *film_warnings(plan.source.facts), *plan.source.warnings, *plan.warnings]
    for dub, faces_found, confidence in zip(plan.dubs, stats.dubs, confidences, strict=True):
        faces = [*face_warnings(faces_found), *person_warnings(dub.chooser), *limit_warnings(dub.references)]
        warnings += [f"{dub.stretch.prefix}{warning}" for warning in (*faces, *sync_warnings(confidence))]
    return FinishedClip(result, report, warnings)
