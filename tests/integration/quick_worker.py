"""A real worker around a pipeline that only waits: `metadata` of the job says for how long and how it ends.

Run as `python -m tests.integration.quick_worker`; settings from the environment as always.
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
from worker.main import Engine, run_worker
from worker.pipeline import Outcome

STEP_S = 0.05


class QuickSynthesizer:
    device_name = "cpu"
    precision = "fp32"


def run(sources, options, synthesizer, output, work_dir, monitor, ffmpeg=None):
    plan = options.metadata
    assert sources.video.is_file() and sources.audio.is_file() and work_dir.is_dir()
    if plan.get("error") == "input":
        raise InputError(ErrorCode.NO_FACE_DETECTED, "No face was found in any frame.")
    if plan.get("error") == "bug":
        raise RuntimeError("secret text of a bug")
    monitor.stage("synthesize")
    steps = max(1, int(plan.get("seconds", 0) / STEP_S))
    for step in range(steps):
        monitor.check()
        monitor.frames(step, steps)
        time.sleep(STEP_S)
    output.write_bytes(b"mp4 of " + sources.video.read_bytes())
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    result = ResultFacts(bytes=output.stat().st_size, sha256=digest, duration_s=4, fps="25", width=64, height=48,
                         frames=100)
    report = Report(face_coverage=1, face_height_px=100, stage_seconds={"synthesize": 1}, realtime_factor=0.5,
                    checkpoint="quick", device="cpu")
    return Outcome(result=result, report=report, warnings=["quick"])


def find_faces(settings, path):
    return [{"index": 0, "x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0, "score": 0.9}]


def engine() -> Engine:
    return Engine(
        verify=lambda settings: None,
        load=lambda settings: QuickSynthesizer(),
        checkpoint=lambda settings: Path(__file__),
        run=run,
        find_faces=find_faces,
    )


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_worker(Settings(), engine()))
