"""What a run logs: every step in a CSV, and the same curves for TensorBoard where it is installed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LOG = "log.csv"


class Curves:
    """The curves of one run's folder; what a killed run logged after its last saved state is dropped.

    step: the step the run starts after, 0 for a new one. `tell` hears once where TensorBoard is missing.
    """

    def __init__(self, folder: Path, step: int, tell: Callable[[str], None]) -> None:
        self._path = folder / LOG
        self._rows: list[dict[str, Any]] = []
        if self._path.is_file() and step:
            with self._path.open(newline="") as file:
                self._rows = [dict(row) for row in csv.DictReader(file) if int(row["step"]) <= step]
        self._board = _open_board(folder, step, tell)

    def write(self, step: int, elapsed_s: float, rate: float, crops_per_s: float, terms: Mapping[str, float]) -> None:
        """Add a step."""
        pace = {"elapsed_s": f"{elapsed_s:.1f}", "rate": f"{rate:.2e}", "crops_per_s": f"{crops_per_s:.1f}"}
        self._rows.append({"step": step, **pace, **{name: f"{value:.6f}" for name, value in terms.items()}})
        if self._board is not None:
            for name, value in {"rate": rate, "crops_per_s": crops_per_s, **terms}.items():
                kind = "validation" if name.startswith("val_") else "training"
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def flush(self) -> None:
        """Write the whole table anew: it gains columns at the first validation."""
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        partial = self._path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self._rows)
        partial.replace(self._path)
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """Let go of TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, step: int, tell: Callable[[str], None]) -> Any:
    """Return a writer of TensorBoard events that hides what was logged after `step`, or None without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # late: it takes a second, and serving never logs
    except ImportError:
        tell("TensorBoard is not installed: the curves are in log.csv alone")
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)
