"""Warnings about what is unusual in the film that was sent: what was joined, fitted or left out of the output."""

from __future__ import annotations

from app.core.jobs import VideoFacts


def film_warnings(facts: VideoFacts) -> list[str]:
    """Return warnings about tracks that are not used, clocks that start again and pictures that change."""
    warnings = []
    if facts.video_tracks > 1:
        warnings.append(
            f"The film has {facts.video_tracks} video tracks; only one is used, the default one if it can be."
        )
    if facts.clock_restarts:
        times = "once" if facts.clock_restarts == 1 else f"{facts.clock_restarts} times"
        warnings.append(f"The clock of the film starts again or jumps {times}; its parts follow each other directly.")
    if facts.picture_changes:
        size = f"{facts.width}x{facts.height}"
        warnings.append(
            f"The size or the kind of the picture changes in mid-film; every picture is fitted into {size}."
        )
    return warnings
