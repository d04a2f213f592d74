"""Runs of flags: where something begins and ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.arrays import I64


def find_runs(flags: NDArray[np.bool_]) -> I64:
    """Return the [start, end) of each run of flags (n,) that are set, (k, 2) int64 in their order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return np.asarray(edges.reshape(-1, 2), np.int64)
