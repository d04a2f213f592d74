"""What the scenarios found: tables, notes, figures and broken promises."""

from __future__ import annotations

from collections.abc import Sequence


class Findings:
    """Findings of all scenarios; each is printed at once, and the last line repeats the figures."""

    def __init__(self) -> None:
        self._figures: list[str] = []
        self.broken: list[str] = []

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Print rows of cells in columns; the first row is the heading."""
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            others = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            self.note("  ".join([row[0].ljust(widths[0]), *others]))

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    def figures(self, scenario: str, text: str) -> None:
        """Print what a scenario measured, and keep it for the last line."""
        self.note(f"{scenario}: {text}")
        self._figures.append(f"{scenario}: {text}")

    def promise(self, sentence: str, is_kept: bool) -> None:
        """Print whether a promise was kept."""
        self.note(f"  {'kept' if is_kept else 'BROKEN'}: {sentence}")
        if not is_kept:
            self.broken.append(sentence)

    def last_line(self) -> str:
        """Return all figures and whether every promise was kept."""
        end = f"{len(self.broken)} promises broken" if self.broken else "every promise kept"
        return "; ".join([*self._figures, end])
