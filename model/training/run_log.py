"""The log of a run: every step in a CSV, and the same curves for TensorBoard if it is installed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from model.files import replacing

LOG = "log.csv"
Row = dict[str, str | int]


class Board(Protocol):
    """Writer of TensorBoard events."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Add one point of a curve."""

    def flush(self) -> None:
        """Write everything that is buffered."""

    def close(self) -> None:
        """Close the file."""


class Curves:
    """Curves of one run's folder, as rows for the CSV and as TensorBoard events."""

    def __init__(self, path: Path, rows: list[Row], board: Board | None) -> None:
        self._path, self._rows, self._board = path, rows, board

    @classmethod
    def open(cls, folder: Path, step: int, log: Callable[[str], None]) -> Curves:
        """Read the curves of a folder up to a step, 0 for a new run.

        Steps that a killed run logged after its last saved state are dropped. `log` gets one sentence if TensorBoard is
        missing. Raises OSError, ValueError or KeyError if another file lies in the place of the curves.
        """
        rows: list[Row] = []
        if (folder / LOG).is_file() and step:
            with (folder / LOG).open(newline="") as file:
                rows = [dict(row) for row in csv.DictReader(file) if int(row["step"]) <= step]
        return cls(folder / LOG, rows, _open_board(folder, step, log))

    def write(self, step: int, elapsed_s: float, rate: float, crops_per_s: float, terms: Mapping[str, float]) -> None:
        """Add a step. rate: the learning rate; terms: the losses and, after a validation, its measures."""
        pace = {"elapsed_s": f"{elapsed_s:.1f}", "rate": f"{rate:.2e}", "crops_per_s": f"{crops_per_s:.1f}"}
        self._rows.append({"step": step, **pace, **{name: f"{value:.6f}" for name, value in terms.items()}})
        if self._board is not None:
            for name, value in {"rate": rate, "crops_per_s": crops_per_s, **terms}.items():
                kind = "validation" if name.startswith("val_") else "training"
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def flush(self) -> None:
        """Write the whole CSV again, because the first validation adds columns."""
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        with replacing(self._path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self._rows)
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, step: int, log: Callable[[str], None]) -> Board | None:
    """Return a writer of TensorBoard events that hides events after `step`, or None without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # only now: it takes a second, and serving never logs
    except ImportError:
        log("TensorBoard is not installed: the curves are in log.csv alone")
        return None
    board: Board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)
    return board
