"""Gather what scenarios found: tables and notes as they come, a line of figures each, and which promises broke."""

from __future__ import annotations

from collections.abc import Sequence


class Report:
    """Print as things are found, and remember what the closing line says."""

    def __init__(self) -> None:
        self._figures: list[str] = []
        self.broken: list[str] = []

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Print rows of cells, the first a heading, in columns."""
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            others = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            self.note("  ".join([row[0].ljust(widths[0]), *others]))

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    def figures(self, scenario: str, text: str) -> None:
        """Print what a scenario measured, and keep it for the closing line."""
        self.note(f"{scenario}: {text}")
        self._figures.append(f"{scenario}: {text}")

    def promise(self, sentence: str, is_kept: bool) -> None:
        """Print whether a promise was kept."""
        self.note(f"  {'kept' if is_kept else 'BROKEN'}: {sentence}")
        if not is_kept:
            self.broken.append(sentence)

    def closing(self) -> str:
        """Return the closing line."""
        end = f"{len(self.broken)} promises broken" if self.broken else "every promise kept"
        return "; ".join([*self._figures, end])
