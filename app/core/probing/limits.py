"""Limits on accepted files; a module of its own, so that the probing child process need not import the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.core.settings import Settings


@dataclass(frozen=True)
class Limits:
    """Limits on accepted files: seconds, pixels per frame, frames per second."""

    max_duration_s: float = 3600.0
    max_pixels: int = 4096 * 2304
    max_fps: float = 120.0

    @property
    def max_frames(self) -> int:
        """Return the number of frames of the longest clip at the highest frame rate."""
        return int(self.max_duration_s * self.max_fps)

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits that the settings name."""
        return cls(settings.max_duration_s, settings.max_pixels, settings.max_fps)
