"""Gather what a clip's faces were like: what the report says, what to warn of, and when to give up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from statistics import median
from typing import Final

from pydantic import BaseModel, Field

from app.core.errors import ErrorCode, InputError
from app.core.jobs import JobOptions
from worker.faces.subject import MIN_HEIGHT_PX
from worker.faces.track import Tracked, height_px

LOW_HEIGHT_PX: Final = 60.0
LOW_COVERAGE: Final = 0.9


class Findings(BaseModel):
    """Count what the frames of a clip, or of a segment of it, showed; heights of faces in pixels."""

    frames: int = 0
    with_face: int = 0
    too_small: int = 0
    heights_px: list[float] = Field(default_factory=list)

    def watch(
        self, frames: Iterable[Tracked], options: JobOptions, rate: Fraction, first: int = 0
    ) -> Iterator[Tracked]:
        """Pass output frames, numbered from `first`, on; raises InputError where one without a face is not allowed."""
        for tracked in frames:
            self.too_small += tracked.small and not tracked.faces
            self.with_face += bool(tracked.faces)
            self.heights_px.extend(height_px(face) for face in tracked.faces)
            if options.on_missing_face == "fail" and not tracked.faces:
                at_s = float((first + self.frames) / rate)
                raise InputError(ErrorCode.FACE_NOT_FOUND, f"The chosen face is missing at {at_s:.2f} s of the output.")
            self.frames += 1
            yield tracked

    def add(self, other: Findings) -> None:
        """Count what was found in another segment as well."""
        self.frames += other.frames
        self.with_face += other.with_face
        self.too_small += other.too_small
        self.heights_px += other.heights_px

    @property
    def coverage(self) -> float:
        """Return the share of frames in which a chosen face was synthesized."""
        return self.with_face / max(1, self.frames)

    @property
    def height_px(self) -> float:
        """Return the median height of the chosen faces, 0 where there was none."""
        return round(median(self.heights_px), 1) if self.heights_px else 0.0

    def check(self, choice: str) -> None:
        """Raise InputError where no frame had a face to synthesize."""
        if self.with_face:
            return
        if self.too_small:
            message = f"The face is less than {MIN_HEIGHT_PX:g} pixels tall throughout."
            raise InputError(ErrorCode.FACE_TOO_SMALL, message)
        if choice in ("largest", "all"):
            raise InputError(ErrorCode.NO_FACE_DETECTED, "No face was found in any frame.")
        raise InputError(ErrorCode.FACE_NOT_FOUND, "The chosen face was not found in any frame.")

    def warnings(self) -> list[str]:
        """Return what a user should know of the result, with numbers."""
        found = []
        if self.coverage < LOW_COVERAGE:
            share = f"{100 * self.coverage:.0f} % of the frames"
            found.append(f"The chosen face was found in {share}; the others pass through unchanged.")
        if self.height_px < LOW_HEIGHT_PX:
            found.append(f"The face is only {self.height_px:.0f} pixels tall; its lips may hardly be seen to move.")
        return found
