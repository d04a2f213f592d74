"""The cost of a crop in floating-point operations."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from model.checkpoint import load_network


def gflop_per_crop(checkpoint: Path) -> float:
    """Count the operations that one crop takes, without a speech encoder, in 10^9, with two for each multiply-add.

    Raises CheckpointError.
    """
    config, network = load_network(checkpoint)
    faces = torch.zeros(1, 6, config.image_size, config.image_size)
    sound = torch.zeros(1, 1, *config.sound_shape)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(faces, sound)
    return float(counter.get_total_flops()) / 1e9
