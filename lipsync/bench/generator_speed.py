"""Speed of the generator alone: no film, no sound, only batches of crops."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

from app.core.settings import Settings

GENERATOR_SECONDS: Final = 5.0


def measure_generator(settings: Settings) -> dict[str, Any]:
    """Measure the generator alone: crops per second at the configured batch size, and its counted GFLOP per crop."""
    from model.evaluation.flops import gflop_per_crop
    from worker.loaded_network import checkpoint_path, load_generator

    synthesizer = load_generator(settings)
    size, batch = synthesizer.config.image_size, settings.batch_size
    random = np.random.default_rng(0)
    crops = random.integers(0, 255, (batch, size, size, 3), np.uint8)
    sound = random.standard_normal((batch, *synthesizer.config.sound_shape)).astype(np.float32)
    synthesizer.synthesize(crops, sound)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < GENERATOR_SECONDS:
        synthesizer.synthesize(crops, sound)
        done += batch
    return {
        "crops_per_s": done / (time.perf_counter() - started),
        "batch_size": batch,
        "device": synthesizer.device_name,
        "precision": synthesizer.precision,
        "gflop_per_crop": gflop_per_crop(checkpoint_path(settings)),
    }
