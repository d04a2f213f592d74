"""A check that stops work after a while."""

from __future__ import annotations

import time

from app.core.checks import Check


class StopError(Exception):
    pass


def stop_after(seconds: float) -> Check:
    deadline = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > deadline:
            raise StopError

    return check
