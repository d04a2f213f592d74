"""Texts on which a probe and its child process agree; a module of its own, so that the child loads nothing else."""

from __future__ import annotations

from typing import Final

READY: Final = "ready\n"  # what the child writes once it can open the file
DAMAGED: Final = "The file is damaged, or of a kind that cannot be read."
