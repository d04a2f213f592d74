"""The check that long work calls at least once a second: it raises to stop the work."""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[], None]


def never_stop() -> None:
    """Stop nothing: the check of work that nobody can cancel."""
