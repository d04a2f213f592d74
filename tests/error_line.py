"""The lines with which a command ends when it is refused."""

from __future__ import annotations


def error_line(told: str) -> str:
    """Return the line `error: ...` of standard error, after which at most one hint follows."""
    first, *hints = told.splitlines()
    assert first.startswith("error: ")
    assert len(hints) <= 1 and all(line.startswith("hint: ") for line in hints)
    return first
