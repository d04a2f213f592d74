"""The cost of a crop in floating-point operations."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from model.audio import MEL_BANDS
from model.checkpoint import load_network


def gflop_per_crop(checkpoint: Path) -> float:
    """Count the operations that one crop takes, in 10^9, with two for each multiply-add. Raises CheckpointError."""
    config, network = load_network(checkpoint)
    faces = torch.zeros(1, 6, config.image_size, config.image_size)
    mels = torch.zeros(1, 1, MEL_BANDS, config.mel_window.columns)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(faces, mels)
    return float(counter.get_total_flops()) / 1e9
