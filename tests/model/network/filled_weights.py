"""Weights and inputs computed by the formulas in ../shared/parity/README.md, so that no weights need be stored."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def fill_by_formula(network: nn.Module, names_file: Path) -> None:
    """Check the network's names and shapes against the published ones, then fill it; leave it in eval mode."""
    published = json.loads(names_file.read_text())
    state = network.state_dict()
    assert sorted(state) == sorted(published)
    filled = {}
    for k, name in enumerate(sorted(published)):
        shape = tuple(state[name].shape)
        assert shape == tuple(published[name]), name
        w = np.random.RandomState(k).standard_normal(int(np.prod(shape)))
        if "num_batches_tracked" in name:
            w = np.zeros_like(w)
        elif "running_var" in name:
            w = 1 + 0.1 * np.abs(w)
        elif "running_mean" in name:
            w = 0.1 * w
        elif len(shape) > 1:
            w = w / np.sqrt(np.prod(shape[1:]))
        else:
            w = 1 + 0.1 * w if name.endswith("weight") else 0.1 * w
        filled[name] = torch.from_numpy(w.reshape(shape)).to(state[name].dtype)
    network.load_state_dict(filled)
    network.eval()


def wave(shape: tuple[int, ...], phase: float, scale: float, offset: float) -> Tensor:
    """Return offset + scale * sin(0.013 i + phase) over the flat index, float32."""
    index = np.arange(np.prod(shape))
    return torch.from_numpy((offset + scale * np.sin(0.013 * index + phase)).astype(np.float32).reshape(shape))
