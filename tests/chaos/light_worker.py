"""A real worker around a synthesizer that costs nothing, so that hundreds of jobs and an hour of video fit two cores.

Run as `python -m tests.chaos.light_worker`; settings from the environment as always. All but the network is real:
decoding, detection, crops, blending, encoding, segments, leases.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.core.logs import set_up_logging
from app.core.settings import Settings
from model.arrays import F32, U8
from model.audio import AROUND_FRAME, MelWindow
from model.framing import LOWER_FACE, Framing
from worker.jobs.tasks import Pipeline
from worker.main import Engine, run_worker


@dataclass(frozen=True)
class LightConfig:
    """What cutting crops and sound for it takes."""

    architecture: str = "light"
    image_size: int = 96
    framing: Framing = LOWER_FACE
    mel_window: MelWindow = AROUND_FRAME
    keeps_detail: bool = False


@dataclass
class LightSynthesizer:
    """Darken the hidden part of each crop by how loud its moment is."""

    config: LightConfig = field(default_factory=LightConfig)
    batch_size: int = 16
    device_name: str = "cpu"
    precision: str = "fp32"

    def synthesize(self, crops: U8, mels: F32, references: U8 | None = None) -> U8:
        """Return the crops with their hidden part darkened, (N, S, S, 3) uint8."""
        hidden = np.s_[:, round(crops.shape[1] * self.config.framing.hidden_from) :]
        shade = np.clip((mels.mean(axis=(1, 2)) + 4.0) / 8.0, 0.0, 0.9)
        drawn = crops.copy()
        drawn[hidden] = (crops[hidden] * (1.0 - shade[:, None, None, None])).astype(np.uint8)
        return drawn


def engine() -> Engine:
    """Return what the worker is built around."""
    from worker.pipeline.segments import begin, join_segments, render_segment

    return Engine(
        verify=lambda settings: None,
        load=lambda settings: LightSynthesizer(),
        checkpoint=lambda settings: Path(__file__),
        pipeline=Pipeline(begin, render_segment, join_segments),
        find_faces=lambda settings, path: [],
    )


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_worker(Settings(), engine()))
