"""Speed of the generator alone: no film, no sound, only batches of crops."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.core.settings import Settings
from model.runtimes.measure import MeasureRequest
from model.runtimes.measured import Measured

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
        "runtime": synthesizer.runtime,
        "runtimes": measure_runtimes(settings),
        "gflop_per_crop": gflop_per_crop(checkpoint_path(settings)),
    }


def measure_runtimes(settings: Settings) -> list[dict[str, Any]]:
    """Measure every runtime of this machine's CPU on one thread and on all, in turns within one run each.

    Returns, for each number of threads, what `Measured` has, and the best usable speed as a multiple of torch in fp32.
    """
    from worker.loaded_network import checkpoint_path
    from worker.process_share import usable_cores
    from worker.runtime_choice import measure_apart

    rows = []
    for threads in sorted({1, usable_cores()}):
        with tempfile.TemporaryDirectory() as folder:
            request = MeasureRequest(
                checkpoint=checkpoint_path(settings).absolute(),
                converted=Path(folder) / "network.xml",
                threads=threads,
                batch_size=settings.batch_size,
            )
            measured = measure_apart(request).measured
        best = max(one.crops_per_s for one in measured if not one.flaw)
        rows.append(
            {
                "threads": threads,
                "measured": [one.model_dump() for one in measured],
                "best_to_torch_fp32": best / measured[0].crops_per_s,
            }
        )
    return rows


def runtime_lines(generator: dict[str, Any]) -> list[str]:
    """Return a line of text for each number of threads that the runtimes were measured with."""
    lines = []
    for row in generator["runtimes"]:
        measured = ", ".join(str(Measured.model_validate(one)) for one in row["measured"])
        ratio = f"best / torch fp32 {row['best_to_torch_fp32']:.2f}"
        lines.append(f"    {row['threads']} thread{'s' * (row['threads'] > 1)}: {measured}; {ratio}")
    return lines
