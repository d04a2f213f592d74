"""What the training loop (model/training/train.py) needs of an objective."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from model.arrays import U8
from model.training.batches import Rng

Terms = dict[str, Tensor]
VALIDATION_SEED = 20_000_003


class Objective(Protocol):
    """Network to train, with its data and its losses."""

    @property
    def network(self) -> nn.Module:
        """Return the network that is trained and exported."""

    @property
    def helpers(self) -> Sequence[nn.Module]:
        """Return networks that are trained at the same time and saved with the run's state, but never exported."""

    def losses(self, rng: Rng) -> Terms:
        """Draw a batch and return the terms of its loss, scalars by name, among them `total`."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Measure a network (in eval mode) on the validation split."""

    def sheet(self, network: nn.Module) -> U8 | None:
        """Draw a picture (H,W,3) uint8 RGB of what a network draws; None if it draws nothing."""

    def export(self, network: nn.Module, path: Path, notes: str) -> None:
        """Write a network as a checkpoint."""
