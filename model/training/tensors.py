"""Conversion of a batch of arrays to the tensors a network is trained on, and random changes of their colours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.arrays import F32, U8
from model.training.batches import Rng


def to_faces(crops: U8, device: torch.device) -> Tensor:
    """Convert crops to pixels, (N,S,S,3) uint8 -> (N,3,S,S) float32 in 0..1, channels last in memory."""
    return torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float() / 255


def to_sound(sound: F32, device: torch.device) -> Tensor:
    """Convert windows of sound to the network's input, (N,rows,columns) -> (N,1,rows,columns)."""
    return torch.from_numpy(np.ascontiguousarray(sound)).to(device)[:, None]


def vary_faces(rng: Rng, batches: list[Tensor], groups: list[int]) -> list[Tensor]:
    """Change colours, in the same way for all frames of a group and in every batch.

    batches of (N,3,S,S) in 0..1; groups: the number of consecutive items in each group, N in all. Returns batches of
    the same shapes and range.
    """
    count = len(groups)
    gain = rng.uniform(0.85, 1.15, (count, 1)) * rng.uniform(0.94, 1.06, (count, 3))
    values = np.concatenate([gain, rng.uniform(-0.08, 0.08, (count, 1))], axis=1)
    spread = torch.from_numpy(np.repeat(values, groups, axis=0)).float()[:, :, None, None].to(batches[0].device)
    return [((faces - 0.5) * spread[:, :3] + 0.5 + spread[:, 3:]).clamp(0, 1) for faces in batches]
