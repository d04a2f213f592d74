"""Gather what a clip's faces were like: what the report says, what to warn of, and when to give up."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from fractions import Fraction
from statistics import median
from typing import Final

from app.core.errors import ErrorCode, InputError
from app.core.jobs import JobOptions
from worker.subject import MIN_HEIGHT_PX
from worker.track import Tracked, height_px

LOW_HEIGHT_PX: Final = 60.0
LOW_COVERAGE: Final = 0.9


class Findings:
    """Count frames as they pass; `strict` raises at the first frame without a chosen face."""

    def __init__(self, options: JobOptions, rate: Fraction) -> None:
        self._strict, self._rate = options.on_missing_face == "fail", rate
        self._frames = self._with_face = self._too_small = 0
        self._heights = array("f")

    def watch(self, frames: Iterable[Tracked]) -> Iterator[Tracked]:
        """Pass output frames on; raises InputError where the options say so."""
        for tracked in frames:
            self._too_small += tracked.small and not tracked.faces
            self._with_face += bool(tracked.faces)
            self._heights.extend(height_px(face) for face in tracked.faces)
            if self._strict and not tracked.faces:
                at_s = float(self._frames / self._rate)
                raise InputError(ErrorCode.FACE_NOT_FOUND, f"The chosen face is missing at {at_s:.2f} s of the output.")
            self._frames += 1
            yield tracked

    @property
    def coverage(self) -> float:
        """Return the share of frames in which a chosen face was synthesized."""
        return self._with_face / max(1, self._frames)

    @property
    def height_px(self) -> float:
        """Return the median height of the chosen faces, 0 where there was none."""
        return round(float(median(self._heights)), 1) if self._heights else 0.0

    def check(self, choice: str) -> None:
        """Raise InputError where no frame had a face to synthesize."""
        if self._with_face:
            return
        if self._too_small:
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
