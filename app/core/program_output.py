"""What a program of this machine says of itself: its version, or what it can do."""

from __future__ import annotations

import subprocess
from typing import Final

TIMEOUT_S: Final = 20.0


def program_output(*command: str) -> str:
    """Return what a command prints; an empty text if it cannot be run, fails, or takes too long."""
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
