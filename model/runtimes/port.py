"""The port of a runtime: what computes a network, behind an interface of arrays.

A runtime gets a prepared batch and returns the drawing. Everything else (hiding rows, channel order, filling up
batches, composition) is the synthesizer's work and the same for all runtimes. This module loads neither torch nor
OpenVINO, so a process loads only what it uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from model.arrays import F32, U8

RuntimeName = Literal["torch", "openvino"]
Precision = Literal["fp32", "bf16", "fp16"]
RUNTIMES: Final[tuple[RuntimeName, ...]] = ("torch", "openvino")


class RuntimeUnavailableError(ValueError):
    """Runtime or precision that cannot be used here; its text says why."""


@dataclass(frozen=True)
class Drawn:
    """What a network drew for N faces, in its own channel order and at its own size S.

    levels (N,S,S,3) uint8: the colours. offsets (N,2,S/2,S/2) and mask (N,S,S), float32: see `Drawing`; None if the
    network draws whole faces. Above the hidden rows, a mask and its colours are 0.
    """

    levels: U8
    offsets: F32 | None = None
    mask: F32 | None = None


class Runtime(Protocol):
    """A loaded network that draws. All batches of one size take the same steps, whatever they hold."""

    @property
    def name(self) -> str:
        """Return the name of the runtime, one of RUNTIMES."""

    @property
    def precision(self) -> str:
        """Return the number format that it multiplies in: fp32, bf16 or fp16."""

    @property
    def device_name(self) -> str:
        """Return the name of the device it runs on."""

    def draw(self, faces: U8, sound: F32, movements: F32) -> Drawn:
        """Draw N faces.

        faces: (N,S,S,6) uint8 in the network's channel order, the target with its lower rows black, then the reference.
        sound: (N,rows,columns) float32, finite. movements: (N,2) float32. Raises an error for which `is_out_of_memory`
        is true if memory runs out; a smaller batch may then work.
        """

    def hear(self, sound: F32) -> F32 | None:
        """Return the normal articulation (N,7) that the network hears, None if it has none; sound as for `draw`."""

    def release(self) -> None:
        """Give back memory that only an earlier, larger batch needed."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means that memory ran out, on a GPU or on a CPU, in any runtime."""
    text = str(error).lower()
    words = ("not enough memory", "out of memory", "bad_alloc", "failed to allocate")
    return isinstance(error, MemoryError) or any(word in text for word in words)
