"""What the one training loop (model/training/train.py) needs of whatever is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from model.arrays import U8
from model.training.clips import Rng

Terms = dict[str, Tensor]
VALIDATION_SEED = 20_000_003


class Objective(Protocol):
    """Batches arrive as arrays and become tensors here; a loss comes back."""

    @property
    def network(self) -> nn.Module:
        """Return what is trained."""

    @property
    def helpers(self) -> Sequence[nn.Module]:
        """Return what learns along with it, is kept with the run's state, and is never exported."""

    def losses(self, rng: Rng) -> Terms:
        """Draw a batch and return its terms, among them `total`."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Measure a network (in eval mode) on the validation split."""

    def sheet(self, network: nn.Module) -> U8 | None:
        """Draw a picture (H,W,3) that shows what a network does, where there is something to see."""

    def export(self, network: nn.Module, path: Path, notes: str) -> None:
        """Write a network as a checkpoint."""
