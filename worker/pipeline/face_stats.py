"""Statistics of the faces in a clip: the figures of the report, the warnings, and the errors for missing faces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from statistics import median
from typing import Any, Final

from pydantic import BaseModel, Field, model_validator

from app.core.errors import ErrorCode, InputError
from worker.faces.detect import face_height
from worker.faces.reference import PROFILE, ReferenceCrops
from worker.faces.subject import MIN_HEIGHT_PX, Chooser
from worker.faces.track import TrackedFrame
from worker.pipeline.dubs import Stretch
from worker.pipeline.sync_confidence import LipShapes
from worker.pipeline.synthesis import OutputFrame

ANY_FACE: Final = ("largest", "all")  # choices that every face fits
LOW_HEIGHT_PX: Final = 64.0
LOW_COVERAGE: Final = 0.9
UNSURE: Final = 0.02  # share of the frames from which on a doubt about the person is worth a warning
OFTEN: Final = 0.1  # share of the sparse faces from which on a limit is worth a warning


class FaceStats(BaseModel):
    """Counts of the frames of a clip or of a segment, and the heights of the chosen faces in pixels.

    frames: all frames. with_face: frames with a chosen face. too_small: frames whose chosen faces are all too small.
    unsure: frames whose chosen face may be somebody else's. lip_shapes: shapes of the lips in some frames of the
    output, by number.
    """

    frames: int = 0
    with_face: int = 0
    too_small: int = 0
    unsure: int = 0
    heights_px: list[float] = Field(default_factory=list)
    lip_shapes: LipShapes = Field(default_factory=dict)

    def count(self, tracked: TrackedFrame) -> None:
        """Count a frame."""
        self.frames += 1
        self.too_small += tracked.small and not tracked.faces
        self.with_face += bool(tracked.faces)
        self.unsure += bool(tracked.faces) and not tracked.is_sure
        self.heights_px.extend(face_height(face) for face in tracked.faces)

    def add(self, other: FaceStats) -> None:
        """Add the counts and heights of other frames."""
        self.frames += other.frames
        self.with_face += other.with_face
        self.too_small += other.too_small
        self.unsure += other.unsure
        self.heights_px += other.heights_px
        self.lip_shapes |= other.lip_shapes

    @property
    def coverage(self) -> float:
        """Return the share of frames with a chosen face, 0..1."""
        return self.with_face / max(1, self.frames)

    @property
    def height_px(self) -> float:
        """Return the median height of the chosen faces in pixels, 0 if there are none."""
        return round(median(self.heights_px), 1) if self.heights_px else 0.0


class ClipStats(BaseModel):
    """Number of the frames of a clip or of a segment, and the statistics of the faces of each of its dubs."""

    frames: int = 0
    dubs: list[FaceStats]

    @model_validator(mode="before")
    @classmethod
    def _of_one_voice(cls, values: Any) -> Any:
        """Read what a segment of an earlier version left, which had one voice and no list of dubs."""
        if isinstance(values, dict) and "dubs" not in values:
            return {"frames": values.get("frames", 0), "dubs": [values]}
        return values

    def add(self, other: ClipStats) -> None:
        """Add the statistics of another segment."""
        self.frames += other.frames
        for own, more in zip(self.dubs, other.dubs, strict=True):
            own.add(more)

    @property
    def total(self) -> FaceStats:
        """Return the statistics of all dubs together."""
        total = FaceStats()
        for dub in self.dubs:
            total.add(dub)
        return total


def count_faces(
    frames: Iterable[OutputFrame], stats: ClipStats, stretches: Sequence[Stretch], rate: Fraction
) -> Iterator[OutputFrame]:
    """Yield output frames, and add each of them to the statistics of the dubs that it belongs to.

    rate: frames per second. Raises InputError for a frame without a chosen face if the options do not allow it.
    """
    for frame in frames:
        for number, tracked in frame.found.items():
            stretch = stretches[number]
            stats.dubs[number].count(tracked)
            if stretch.options.on_missing_face == "fail" and not tracked.faces:
                at_s = float(frame.number / rate)
                message = f"{stretch.prefix}The chosen face is missing at {at_s:.2f} s of the output."
                raise InputError(ErrorCode.FACE_NOT_FOUND, message, hint=_hint_of(stretch.options.face))
        stats.frames += 1
        yield frame


def _hint_of(face: str) -> str:
    """Return what helps where a frame has no face although each must have one; face: the job option."""
    helps = "Set `on_missing_face` to `pass_through`, which leaves frames without the face as they are"
    return f"{helps}." if face in ANY_FACE else f"{helps}, or choose another face."


def check_faces(stats: ClipStats, choice: str) -> None:
    """Raise InputError if no frame of a clip has a face to synthesize; choice: the job option `face`."""
    total = stats.total
    if total.with_face:
        return
    if total.too_small:
        message = f"No face in the clip is at least {MIN_HEIGHT_PX:g} pixels tall."
        raise InputError(ErrorCode.FACE_TOO_SMALL, message)
    if choice in ANY_FACE:
        raise InputError(ErrorCode.NO_FACE_DETECTED, "No face was found in any frame.")
    raise InputError(ErrorCode.FACE_NOT_FOUND, "The chosen face was not found in any frame.")


def face_warnings(stats: FaceStats) -> list[str]:
    """Return warnings, with figures, about faces that are often missing, doubtful or very small."""
    warnings = []
    if not stats.with_face:
        return ["No face was found that gets the voice; the pictures pass through unchanged."]
    if stats.coverage < LOW_COVERAGE:
        share = f"{100 * stats.coverage:.0f} % of the frames"
        warnings.append(f"The chosen face was found in {share}; the others pass through unchanged.")
    if stats.unsure > UNSURE * stats.frames:
        share = f"{max(1, round(100 * stats.unsure / stats.frames))} % of the frames"
        warnings.append(f"In {share} the face with the new lips may be another person's, who looks much alike there.")
    if stats.height_px < LOW_HEIGHT_PX:
        warnings.append(f"The face is only {stats.height_px:.0f} pixels tall; its lips may hardly be seen to move.")
    return warnings


def person_warnings(chooser: Chooser) -> list[str]:
    """Return a warning if the chosen person may be two people who look much alike."""
    if chooser.target is None or chooser.target.looks == 1:
        return []
    return [
        f"The chosen face looks different in {chooser.target.looks} parts of the clip: these may be several people who "
        "look much alike, and all of them get new lips. Submit the shots of one person alone if that is wrong."
    ]


def limit_warnings(references: ReferenceCrops) -> list[str]:
    """Return warnings, with figures, about faces that are turned far to the side and about covered mouths."""
    warnings = []
    if references.in_profile >= OFTEN:
        share = f"{100 * references.in_profile:.0f} % of the frames looked at"
        warnings.append(
            f"The head is turned more than {PROFILE:.0f} degrees in {share}; its lips may look wrong there."
        )
    if references.covered >= OFTEN:
        share = f"{100 * references.covered:.0f} % of the frames looked at"
        warnings.append(f"Something covers the mouth in {share}; it is painted over there.")
    return warnings
