"""Measure the runtimes of this machine's CPU: `python -m model.runtimes.measure`, a request in, an answer out, as JSON.

It runs in a process of its own. So the libraries of the runtimes that are not chosen cost a worker no memory, and a
runtime that crashes on an unusual processor does not take the worker with it. All runtimes get the same batch in
turns, so that other work on the machine meets all of them, and the fastest of several passes counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict

from model.arrays import F32, U8
from model.checkpoint_config import CheckpointConfig
from model.composition import compose
from model.errors import CheckpointError
from model.known_pixels import PosedPicture, PosedReference
from model.runtimes.measured import Measured
from model.runtimes.port import Precision, Runtime, RuntimeName

BUDGET_S: Final = 2.0  # of all timed passes together
LEAST_PASSES, MOST_PASSES = 3, 12
_LEVEL: Final = 128.0
_OCTAVES: Final = ((3, 45.0), (6, 25.0), (12, 12.0), (48, 6.0))  # cells across the picture, and spread in levels

Kind = tuple[RuntimeName, Precision]
Open = Callable[[], Runtime]


class MeasureRequest(BaseModel):
    """What to measure. converted: the .xml file that a conversion for OpenVINO writes; a .bin file lies beside it."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: Path
    converted: Path
    threads: int
    batch_size: int


class MeasureAnswer(BaseModel):
    """What was measured. config: that of the checkpoint, as JSON. refused: why the checkpoint cannot be used, or ""."""

    model_config = ConfigDict(extra="forbid")

    config: str = ""
    refused: str = ""
    measured: list[Measured] = []


@dataclass(frozen=True)
class Batch:
    """A batch as serving has it: crops and references (N,S,S,3) uint8, sound, movements; see `Runtime.draw`."""

    crops: U8
    references: U8
    sound: F32
    movements: F32
    hidden_from: float

    @property
    def hidden_row(self) -> int:
        """Return the first hidden row of the crops."""
        return round(self.crops.shape[1] * self.hidden_from)

    def faces(self) -> U8:
        """Return the prepared faces, (N,S,S,6) uint8."""
        target = self.crops.copy()
        target[:, self.hidden_row :] = 0
        return np.concatenate([target, self.references], axis=3)

    def drawn_by(self, runtime: Runtime) -> U8:
        """Return the hidden part of each crop as this runtime draws it, (N,rows,S,3) uint8."""
        drawn = runtime.draw(self.faces(), self.sound, self.movements)
        pixels = drawn.levels
        if drawn.offsets is not None and drawn.mask is not None:
            references = [PosedReference(pixels, PosedPicture(pixels)) for pixels in self.references]
            faces = zip(self.crops, references, drawn.offsets, drawn.levels, drawn.mask, strict=True)
            pixels = np.stack([compose(crop, rest, self.hidden_from, *face) for crop, rest, *face in faces])
        return pixels[:, self.hidden_row :]


def example_batch(config: CheckpointConfig, count: int) -> Batch:
    """Return crops that are as smooth and as rough as skin, with a sound; always the same ones."""
    random = np.random.default_rng(0)
    crops = _skin(random, count, config.image_size)
    references = np.clip(crops + random.normal(0, 2, crops.shape), 0, 255).astype(np.uint8)
    sound = random.standard_normal((count, *config.sound_shape)).astype(np.float32)
    movements = random.uniform(0.7, 1.4, (count, 2)).astype(np.float32)
    return Batch(crops, references, sound, movements, config.framing.hidden_from)


def _skin(random: np.random.Generator, count: int, size: int) -> U8:
    levels = np.full((count, size, size, 3), _LEVEL, np.float32) + random.normal(0, 25, (count, 1, 1, 3))
    for crop in levels:
        for cells, spread in _OCTAVES:
            grid = random.normal(0, spread, (cells, cells)).astype(np.float32)
            np.add(crop, cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)[..., None], out=crop)
    return np.clip(levels, 0, 255).astype(np.uint8)


def measure(kinds: Mapping[Kind, Open], batch: Batch, clock: Callable[[], float] = time.perf_counter) -> list[Measured]:
    """Measure each kind of runtime on a batch; the first is the one that the others are compared with.

    A runtime that raises is measured too: its error is its result. If the first one raises, the others cannot be
    compared, which is an error of theirs.
    """
    runtimes: dict[Kind, Runtime] = {}
    results: dict[Kind, Measured] = {}
    exact: U8 | None = None
    first = next(iter(kinds))
    for kind, open_runtime in kinds.items():
        name, precision = kind
        try:
            runtime = open_runtime()
            drawn = batch.drawn_by(runtime)
            if exact is None and kind != first:
                raise RuntimeError(f"{' in '.join(first)} failed, so nothing tells whether this one draws well")
        except Exception as error:  # noqa: BLE001  whatever a runtime ends with, another one is used
            text = " ".join(str(error).split()) or type(error).__name__
            results[kind] = Measured(runtime=name, precision=precision, error=text[:300])
            continue
        exact = drawn if exact is None else exact
        runtimes[kind] = runtime
        results[kind] = Measured(runtime=name, precision=precision, psnr_db=_psnr(drawn, exact))
    for kind, seconds in _fastest(runtimes, batch, clock).items():
        results[kind] = results[kind].model_copy(update={"crops_per_s": len(batch.crops) / seconds})
    return [results[kind] for kind in kinds]


def _fastest(runtimes: Mapping[Kind, Runtime], batch: Batch, clock: Callable[[], float]) -> dict[Kind, float]:
    """Return the seconds of the fastest pass of each runtime."""
    faces, least, begun = batch.faces(), dict.fromkeys(runtimes, float("inf")), clock()
    for number in range(MOST_PASSES):
        if number >= LEAST_PASSES and clock() - begun > BUDGET_S:
            break
        for kind, runtime in runtimes.items():
            started = clock()
            runtime.draw(faces, batch.sound, batch.movements)
            least[kind] = min(least[kind], max(clock() - started, 1e-9))
    return least


def _psnr(drawn: U8, exact: U8) -> float | None:
    """Return the PSNR in dB; None if both are the same."""
    error = float(np.square(drawn.astype(np.float32) - exact).mean())
    return None if error == 0 else 10 * float(np.log10(255**2 / error))


def measure_here(request: MeasureRequest) -> MeasureAnswer:
    """Measure every runtime that this machine has with the network of a checkpoint."""
    import torch

    from model.checkpoint import load_network
    from model.runtimes.devices import multiplies_bf16
    from model.runtimes.openvino_runtime import OpenvinoRuntime, convert, is_installed
    from model.runtimes.torch_runtime import TorchRuntime

    torch.set_num_threads(request.threads)
    try:
        config, _ = load_network(request.checkpoint)
    except CheckpointError as error:
        return MeasureAnswer(refused=str(error))

    def torch_in(precision: Precision) -> Open:
        row = config.hidden_row
        return lambda: TorchRuntime(load_network(request.checkpoint)[1], "cpu", precision, hidden_row=row)

    def openvino_in(precision: Precision) -> Open:
        def opened() -> Runtime:
            if not request.converted.exists():
                convert(request.checkpoint, request.converted)
            return OpenvinoRuntime(request.converted, precision, request.threads, lambda _: None)

        return opened

    precisions: tuple[Precision, ...] = ("fp32", "bf16") if multiplies_bf16() else ("fp32",)
    kinds: dict[Kind, Open] = {("torch", precision): torch_in(precision) for precision in precisions}
    if is_installed():
        kinds |= {("openvino", precision): openvino_in(precision) for precision in precisions}
    return MeasureAnswer(config=config.to_json(), measured=measure(kinds, example_batch(config, request.batch_size)))


def main() -> None:
    """Read a request from the standard input and write the answer to the standard output, as its last line."""
    request = MeasureRequest.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.write(f"\n{measure_here(request).model_dump_json()}\n")


if __name__ == "__main__":
    main()
