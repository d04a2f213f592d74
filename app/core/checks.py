"""The check that long work calls at least once a second; a check that raises stops the work."""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[], None]


def never_stop() -> None:
    """Return without an error: the check of work that cannot be stopped."""
