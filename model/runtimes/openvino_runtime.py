"""The OpenVINO runtime, for CPUs: the same network, compiled for the processor and the fixed shape of a batch.

The network is converted once. The conversion needs torch; a converted file does not, so a worker that reads one never
loads torch. Conversion goes through OpenVINO's PyTorch front end directly: its `convert_model` would report its use to
its makers, which a self-hosted service must not do.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.arrays import F32, U8
from model.runtimes.port import Drawn, RuntimeUnavailableError

MISSING: Final = "the package openvino is not installed; pip install 'lipsync-service[openvino]'"
_HINTS: Final = {"fp32": "f32", "bf16": "bf16"}


def is_installed() -> bool:
    """Return whether the package is installed; loads nothing."""
    return importlib.util.find_spec("openvino") is not None


class OpenvinoRuntime:
    """Network that OpenVINO computes on the CPU.

    converted: the .xml file of `convert`, whose weights lie in a .bin file beside it. hear: hears with the same network
    in another runtime; called only where an evaluation asks what was heard. Raises RuntimeUnavailableError if OpenVINO
    is missing or cannot compute in the precision.
    """

    name, device_name = "openvino", "cpu"

    def __init__(self, converted: Path, precision: str, threads: int, hear: Callable[[F32], F32 | None]) -> None:
        if not is_installed():
            raise RuntimeUnavailableError(MISSING)
        if precision not in _HINTS:
            raise RuntimeUnavailableError(f"openvino computes in {' or '.join(_HINTS)}, not in {precision}")
        self.precision, self._threads, self._hear = precision, threads, hear
        self._converted = converted
        self._compiled: tuple[int, Any] | None = None  # for which count of faces

    def draw(self, faces: U8, sound: F32, movements: F32) -> Drawn:
        """Draw N faces; see `Runtime.draw`."""
        batch = [np.ascontiguousarray(part) for part in (faces, sound, movements)]
        request = self._request(batch)
        # Inputs are read where they are. Outputs are copied, because the next call writes into the same memory.
        results = request.infer(batch, share_inputs=True, share_outputs=False)
        return Drawn(*(results[number] for number in range(len(results))))

    def hear(self, sound: F32) -> F32 | None:
        """Return the normal articulation (N,7) that the network hears; see `Runtime.hear`."""
        return self._hear(sound)

    def release(self) -> None:
        """Drop what was compiled for an earlier size of batch."""
        self._compiled = None

    def _request(self, batch: list[Any]) -> Any:
        count = len(batch[0])
        if self._compiled is None or self._compiled[0] != count:
            self._compiled = None
            self._compiled = count, self._compile([part.shape for part in batch])
        return self._compiled[1]

    def _compile(self, shapes: list[tuple[int, ...]]) -> Any:
        import openvino

        core = openvino.Core()
        network = core.read_model(self._converted)
        network.reshape({port: list(shape) for port, shape in zip(network.inputs, shapes, strict=True)})
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            # Several workers share a machine: each would pin its threads to the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        return core.compile_model(network, "CPU", options).create_infer_request()


def convert(checkpoint: Path, target: Path) -> None:
    """Convert a checkpoint's network for OpenVINO: write `target`, an .xml file, and its .bin file beside it.

    Batches of any size can be compiled from it. Needs torch. Raises CheckpointError, and RuntimeUnavailableError if
    OpenVINO is missing or does not know the network's operations.
    """
    if not is_installed():
        raise RuntimeUnavailableError(MISSING)
    import openvino
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from model.checkpoint import load_network
    from model.network.folding import fold_batch_norms
    from model.network.generator import Generator
    from model.network.rearranged import rearrange
    from model.runtimes.prepared import PreparedNetwork

    config, network = load_network(checkpoint)
    fold_batch_norms(network)
    if isinstance(network, Generator):
        rearrange(network)
    size = config.image_size
    prepared = PreparedNetwork(network.requires_grad_(False), torch.float32, config.hidden_row).eval()
    batch = torch.zeros(2, size, size, 6, dtype=torch.uint8), torch.zeros(2, *config.sound_shape), torch.ones(2, 2)
    with torch.no_grad(), warnings.catch_warnings():
        # Tracing is deprecated, but it is what the front end reads directly. What comes of it is compared with torch
        # before it is used.
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(prepared, batch, check_trace=False)  # type: ignore[no-untyped-call]
        frozen = torch.jit.freeze(traced)
    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(frozen)  # OpenVINO does not keep it alive
    try:
        converted = front_end.convert(front_end.load(decoder))
        for port, part in zip(converted.inputs, batch, strict=True):
            port.get_node().set_partial_shape(openvino.PartialShape([-1, *part.shape[1:]]))
            port.get_node().set_element_type(openvino.Type.u8 if part.dtype == torch.uint8 else openvino.Type.f32)
        converted.validate_nodes_and_infer_types()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-300:]
        raise RuntimeUnavailableError(f"openvino cannot convert {config.architecture}: {reason}") from error
    openvino.save_model(converted, target, compress_to_fp16=False)
