"""Decide once for a clip whose faces each dub redraws, and with which references.

People are counted in sparse frames of the whole clip, so `index:N` means the same person in every dub, and dubs of
one person share the references. `largest` and `point:X,Y` are meant within the stretch of their dub. References come
from the stretches of their dubs, because a person may look different elsewhere. A stretch in which the sparse frames of
the clip are too few gets some of its own; how many frames are looked at grows with the number of dubs, not with their
length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError
from model.arrays import I64
from worker.faces.detect import Face, FaceDetector
from worker.faces.reference import CropShape, ReferenceCrops
from worker.faces.subject import Chooser, SparseFrame, choose_subject, find_sparse_faces, fitting_frames
from worker.media.decode import Source
from worker.pipeline.dubs import Role, Stretch
from worker.pipeline.speaking import FindsSpeakers, speakers_of

OF_THE_CLIP: Final = ("index", "all")  # choices that count the people of the whole clip
STRETCH_FRAMES: Final = 12  # sparse frames of one stretch
ENOUGH_FRAMES: Final = 8  # sparse frames of the clip that fall into a stretch and need no others


@dataclass(frozen=True)
class Cast:
    """Stretches of the dubs of a clip and the role of each; warnings: about who speaks."""

    stretches: Sequence[Stretch]
    roles: Sequence[Role]
    warnings: Sequence[str] = ()


class RoleChooser:
    """Chooser of the faces of all dubs of a clip, from its sparse frames and those of single stretches."""

    def __init__(
        self, source: Source, timeline: I64, sparse: Sequence[SparseFrame], detector: FaceDetector, check: Check
    ) -> None:
        self._source, self._timeline, self._sparse = source, timeline, sparse
        self._detector, self._check = detector, check

    def cast(self, stretches: Sequence[Stretch], finder: FindsSpeakers | None, shape: CropShape) -> Cast:
        """Return who gets which voice; finder: for stretches with `face=speaking`.

        Raises InputError, which names the stretch.
        """
        spoken, warnings = speakers_of(stretches, self._timeline, finder)
        return Cast(spoken, self._roles(spoken, shape), warnings)

    def _roles(self, stretches: Sequence[Stretch], shape: CropShape) -> list[Role]:
        roles: dict[int, Role] = {}
        for numbers in _groups(stretches):
            members = [stretches[number] for number in numbers]
            choice = members[0].options.face
            frames = self._frames_of(members)
            counted = self._sparse if _counts_everybody(choice) else frames
            chooser = _choose(members[0], [frame.faces for frame in counted])
            role = Role(chooser, ReferenceCrops.choose(frames, shape, self._source.colour, chooser))
            roles |= dict.fromkeys(numbers, role)
            del frames  # their pictures take much memory
        self._check_apart(stretches, roles)
        return [roles[number] for number in range(len(stretches))]

    def _frames_of(self, stretches: Sequence[Stretch]) -> Sequence[SparseFrame]:
        """Return the sparse frames in some stretches in their order in time, as many as memory has room for."""
        if not stretches[0].name:
            return self._sparse
        fitting = fitting_frames(self._source)
        chosen = stretches[:: -(-len(stretches) // fitting)]
        most = max(1, min(STRETCH_FRAMES, fitting // len(chosen)))
        frames: dict[int, SparseFrame] = {}
        for stretch in chosen:
            inside = self._inside(stretch)
            if len(inside) < min(ENOUGH_FRAMES, most):
                part = self._timeline[slice(*stretch.span)]
                inside += find_sparse_faces(self._source, part, self._detector, self._check, most)
            frames |= {frame.number: frame for frame in inside}
        return [frames[number] for number in sorted(frames)]

    def _inside(self, stretch: Stretch) -> list[SparseFrame]:
        """Return the sparse frames of the clip that lie in a stretch."""
        ranges = stretch.source_ranges(self._timeline)
        return [frame for frame in self._sparse if any(first <= frame.number < last for first, last in ranges)]

    def _check_apart(self, stretches: Sequence[Stretch], roles: Mapping[int, Role]) -> None:
        """Raise InputError if two dubs that overlap in time are for the same face, which their choices do not tell."""
        for number, one in enumerate(stretches):
            for earlier, other in enumerate(stretches[:number]):
                both = (max(one.span[0], other.span[0]), min(one.span[1], other.span[1]))
                if both[0] >= both[1]:
                    continue
                part = self._timeline[slice(*both)]
                first, last = int(part.min()), int(part.max()) + 1
                frames = [frame for frame in self._sparse if first <= frame.number < last]
                if not frames:
                    frames = find_sparse_faces(self._source, part, self._detector, self._check, 3)
                if _is_same(roles[number].chooser, roles[earlier].chooser, frames):
                    message = f"{one.name} overlaps {other.name} in time, and both are for the same face."
                    raise InputError(ErrorCode.OPTION_INVALID, message)


def _groups(stretches: Sequence[Stretch]) -> list[list[int]]:
    """Return the numbers of the stretches that share a role."""
    groups: dict[tuple[str, int], list[int]] = {}
    for number, stretch in enumerate(stretches):
        choice = stretch.options.face
        groups.setdefault((choice, -1 if _counts_everybody(choice) else number), []).append(number)
    return list(groups.values())


def _counts_everybody(choice: str) -> bool:
    return choice.partition(":")[0] in OF_THE_CLIP


def _choose(stretch: Stretch, sparse: list[list[Face]]) -> Chooser:
    try:
        return choose_subject(stretch.options.face, sparse)
    except InputError as error:
        error.message = f"{stretch.prefix}{error.message}"
        raise


def _is_same(one: Chooser, other: Chooser, frames: Sequence[SparseFrame]) -> bool:
    """Return whether two choosers pick the same face in most frames in which both pick one."""
    picked = [(one.pick(frame.faces), other.pick(frame.faces)) for frame in frames]
    both = [(a, b) for a, b in picked if a and b]
    same = sum(any(face is further for face in a for further in b) for a, b in both)
    return 2 * same > len(both)
