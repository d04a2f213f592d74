"""Real worker with a synthesizer that costs nothing, so that two cores can do hundreds of jobs and an hour of video.

Run as `python -m tests.chaos.light_worker`; settings come from the environment. Everything except the network is real:
decoding, face detection, crops, blending, encoding, segments, leases.
"""

from __future__ import annotations

import sys
from pathlib import Path

from app.core.logs import set_up_logging
from app.core.settings import Settings
from tests.fake_synthesizer import FakeSynthesizer
from worker.jobs.runtime import Pipeline
from worker.main import run_worker
from worker.pool_child import WorkerParts


def light_parts() -> WorkerParts:
    """Return the parts of the worker."""
    from worker.pipeline.segments import begin, join_segments, render_segment

    return WorkerParts(
        settle=lambda settings: settings,
        load_synthesizer=lambda settings: FakeSynthesizer(darkens=True),
        checkpoint_path=lambda settings: Path(__file__),
        pipeline=Pipeline(begin, render_segment, join_segments),
        find_faces=lambda *_: [],
    )


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_worker(Settings(), light_parts()))
