"""What the torch runtime does with recorded passes; the recordings themselves need a GPU."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from model.checkpoint import build_network
from model.checkpoint_config import CheckpointConfig
from model.runtimes.measure import example_batch
from model.runtimes.torch_runtime import TorchRuntime

CONFIG = CheckpointConfig(image_size=32, width=0.25)


def _network():
    torch.manual_seed(1)
    return build_network(CONFIG).eval()


def _draw(runtime, count):
    batch = example_batch(CONFIG, count)
    return runtime.draw(batch.faces(), batch.sound, batch.movements)


def test_a_pass_is_recorded_once_for_each_size_of_batch():
    counts = []

    def record(prepared, batch):
        counts.append(len(batch[0]))
        return lambda batch: prepared(*batch)

    plain, recorded = TorchRuntime(_network(), "cpu", "fp32"), TorchRuntime(_network(), "cpu", "fp32", record)
    for count in (4, 4, 2, 2):
        np.testing.assert_array_equal(_draw(recorded, count).levels, _draw(plain, count).levels)
    recorded.release()
    _draw(recorded, 2)
    assert counts == [4, 2, 2]


def test_nothing_is_painted_above_the_hidden_rows():
    batch, row = example_batch(CONFIG, 2), CONFIG.hidden_row
    whole, lower = (
        TorchRuntime(_network(), "cpu", "fp32", hidden_row=first).draw(batch.faces(), batch.sound, batch.movements)
        for first in (0, row)
    )
    assert whole.mask is not None and whole.mask[:, :row].any()
    assert lower.mask is not None and not lower.mask[:, :row].any() and not lower.levels[:, :row].any()
    np.testing.assert_allclose(lower.mask[:, row:], whole.mask[:, row:], atol=1e-6)
    assert np.abs(lower.levels[:, row:].astype(int) - whole.levels[:, row:]).max() <= 1
    assert lower.offsets is not None and whole.offsets is not None
    np.testing.assert_allclose(lower.offsets, whole.offsets, atol=1e-6)


def test_without_a_recording_kernels_are_started_one_by_one(caplog):
    def record(prepared, batch):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    runtime = TorchRuntime(_network(), "cpu", "fp32", record)
    with caplog.at_level(logging.WARNING, "lipsync.model"):
        drawn = [_draw(runtime, 3).levels for _ in range(2)]
    np.testing.assert_array_equal(drawn[0], _draw(TorchRuntime(_network(), "cpu", "fp32"), 3).levels)
    (line,) = caplog.messages  # said once
    assert "one by one" in line and line.endswith("when stream is capturing")


def test_too_little_memory_for_a_recording_is_no_reason_to_do_without():
    def record(prepared, batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        _draw(TorchRuntime(_network(), "cpu", "fp32", record), 3)
