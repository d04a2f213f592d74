"""The torch runtime: on a CPU as it is, on a GPU as a recorded graph.

A small network on a fast GPU spends most of its time on starting kernels one by one. A CUDA graph starts all of them at
once. It is recorded for the fixed shape of a batch; where it cannot be recorded, the log says so and kernels are
started one by one. Arrays travel over pinned memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from model.arrays import F32, U8
from model.network.folding import fold_batch_norms
from model.network.generator import Generator
from model.runtimes.devices import DTYPES
from model.runtimes.port import Drawn, is_out_of_memory
from model.runtimes.prepared import PreparedNetwork

Pass = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]  # from a batch on the CPU to what was drawn, on the CPU
Recorder = Callable[[PreparedNetwork, Sequence[Tensor]], Pass]

_WARM_UPS = 3  # passes before a recording, in which libraries choose their kernels

_log = logging.getLogger("lipsync.model")


class TorchRuntime:
    """Network that torch computes.

    network must be in eval mode. The constructor changes it: folds its batch norms, moves it to the device and converts
    it to the precision. The caller must not use it afterwards. record: records a pass for the shape of a batch; used on
    GPUs. hidden_row: see `PreparedNetwork`.
    """

    name = "torch"

    def __init__(
        self, network: nn.Module, device: str, precision: str, record: Recorder | None = None, hidden_row: int = 0
    ) -> None:
        fold_batch_norms(network)
        self._device, self._dtype = torch.device(device), DTYPES[precision]
        network.to(self._device, self._dtype).requires_grad_(False)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._prepared = PreparedNetwork(self._network, self._dtype, hidden_row).eval()
        on_gpu = self._device.type == "cuda"
        self.device_name = torch.cuda.get_device_name(self._device) if on_gpu else "cpu"
        self.precision = precision
        self._record = record or (record_graph if on_gpu else None)
        self._recorded: tuple[int, Pass] | None = None  # for which count of faces

    @torch.inference_mode()
    def draw(self, faces: U8, sound: F32, movements: F32) -> Drawn:
        """Draw N faces; see `Runtime.draw`."""
        batch = [torch.from_numpy(np.ascontiguousarray(part)) for part in (faces, sound, movements)]
        parts = [np.ascontiguousarray(part.numpy()) for part in self._pass(batch)(batch)]
        return Drawn(*parts)

    @torch.inference_mode()
    def hear(self, sound: F32) -> F32 | None:
        """Return the normal articulation (N,7) that the network hears; see `Runtime.hear`."""
        if not isinstance(self._network, Generator):
            return None
        hearing = self._network.hearing
        _, predicted = hearing(torch.from_numpy(sound)[:, None].to(self._device, self._dtype))
        heard: F32 = hearing.emphasised(predicted).float().cpu().numpy()
        return heard

    def release(self) -> None:
        """Drop the recorded pass, and give unused memory back to the GPU."""
        self._recorded = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _pass(self, batch: Sequence[Tensor]) -> Pass:
        """Return the pass for a batch of this size, recorded where that is possible."""
        if self._record is None:
            return self._one_by_one
        count = len(batch[0])
        if self._recorded is None or self._recorded[0] != count:
            self._recorded = None
            self._recorded = count, self._new_pass(self._record, batch)
        return self._recorded[1]

    def _new_pass(self, record: Recorder, batch: Sequence[Tensor]) -> Pass:
        try:
            return record(self._prepared, batch)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            _log.warning("no CUDA graph could be recorded, kernels are started one by one error=%s", _first_line(error))
            return self._one_by_one

    def _one_by_one(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        drawn: tuple[Tensor, ...] = self._prepared(*(part.to(self._device) for part in batch))
        return tuple(part.cpu() for part in drawn)


def record_graph(prepared: PreparedNetwork, batch: Sequence[Tensor]) -> Pass:
    """Record a CUDA graph of one pass for the shape of a batch on the CPU; a later batch must have the same shape.

    Raises RuntimeError if the pass cannot be recorded.
    """
    device = next(prepared.parameters()).device
    inputs = [part.to(device) for part in batch]
    pinned_inputs = [torch.empty_like(part, device="cpu", pin_memory=True) for part in batch]
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            prepared(*inputs)
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):  # its own stream would be one of the first GPU
        outputs = tuple(part.contiguous() for part in prepared(*inputs))
    pinned_outputs = tuple(torch.empty_like(part, device="cpu", pin_memory=True) for part in outputs)

    def replay(batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for source, pinned, target in zip(batch, pinned_inputs, inputs, strict=True):
            target.copy_(pinned.copy_(source), non_blocking=True)
        graph.replay()
        for source, pinned in zip(outputs, pinned_outputs, strict=True):
            pinned.copy_(source, non_blocking=True)
        torch.cuda.current_stream(device).synchronize()
        return tuple(part.clone() for part in pinned_outputs)  # the next pass writes into the pinned memory

    return replay


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
