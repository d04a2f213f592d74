"""Real worker with a pipeline that only waits: the `metadata` of a job says how long, and how the job ends.

Run as `python -m tests.integration.quick_worker`; settings come from the environment.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

from app.core.errors import ErrorCode, InputError
from app.core.jobs import Report, ResultFacts
from app.core.logs import set_up_logging
from app.core.settings import Settings
from tests.fake_synthesizer import FakeSynthesizer
from worker.jobs.runtime import Pipeline
from worker.main import run_worker
from worker.pipeline.run_context import FilePair, FinishedClip, PlannedClip
from worker.pool_child import WorkerParts

STEP_S = 0.05
FRAMES = 100


def begin(context, output, segment_s):
    plan, monitor = context.options.metadata, context.monitor
    assert context.sources.video.is_file() and context.sources.audio.is_file() and context.work_dir.is_dir()
    if plan.get("segments", 1) > 1:
        files = FilePair(context.work_dir / "voice", context.work_dir / "plan")
        for path in (files.media, files.facts):
            path.write_bytes(b"planned")
        return PlannedClip(plan["segments"], plan["segments"] * FRAMES, files)
    if plan.get("error") == "input":
        raise InputError(ErrorCode.NO_FACE_DETECTED, "No face was found in any frame.")
    if plan.get("error") == "bug":
        raise RuntimeError("secret text of a bug")
    work(monitor, plan.get("seconds", 0))
    output.write_bytes(b"mp4 of " + context.sources.video.read_bytes())
    return finished_clip(output)


def render_segment(context, plan, number, count):
    assert (plan.media.read_bytes(), plan.facts.read_bytes()) == (b"planned", b"planned")
    if context.options.metadata.get("error") == number:
        raise InputError(ErrorCode.FACE_NOT_FOUND, "The chosen face is missing.")
    work(context.monitor, context.options.metadata.get("seconds", 0))
    made = FilePair(context.work_dir / "pictures", context.work_dir / "facts")
    made.media.write_bytes(b"%d of %d, " % (number, count))
    made.facts.write_bytes(b"found")
    return made


def join_segments(context, plan, segments, output, waited_s):
    assert plan.media.is_file() and plan.facts.is_file() and waited_s > 0
    assert {segment.facts.read_bytes() for segment in segments} == {b"found"}
    output.write_bytes(b"".join(segment.media.read_bytes() for segment in segments))
    return finished_clip(output)


def work(monitor, seconds):
    monitor.stage("synthesize")
    steps = max(1, int(seconds / STEP_S))
    for step in range(steps):
        monitor.check()
        monitor.frames(FRAMES * step // steps, FRAMES)
        time.sleep(STEP_S)
    monitor.frames(FRAMES, FRAMES)


def finished_clip(output):
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    result = ResultFacts(
        bytes=output.stat().st_size, sha256=digest, duration_s=4, fps="25", width=64, height=48, frames=100
    )
    report = Report(
        face_coverage=1,
        face_height_px=100,
        stage_seconds={"synthesize": 1},
        realtime_factor=0.5,
        checkpoint="quick",
        device="cpu",
    )
    return FinishedClip(result=result, report=report, warnings=["quick"])


def find_faces(settings, path, facts, options):
    return [{"index": 0, "x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0, "score": 0.9, "at_s": 0.0}]


def quick_parts() -> WorkerParts:
    return WorkerParts(
        settle=lambda settings: settings,
        load_synthesizer=lambda settings: FakeSynthesizer(),
        checkpoint_path=lambda settings: Path(__file__),
        pipeline=Pipeline(begin, render_segment, join_segments),
        find_faces=find_faces,
    )


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_worker(Settings(), quick_parts()))
