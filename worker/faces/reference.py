"""Choose the reference crops of a clip, with the mouth at rest, and bring one onto the pose of each frame.

A network that is shown the frame it has to redraw can copy the old mouth from it. The reference is therefore another
crop of the same person, with its lips as closed as in any of a few sparse frames of the clip. Lips that are apart in
all of them are closed in the reference. One reference is the main one; further ones show the head in other poses. A
person may look different in some shots; each look has its own references. Each frame takes the main reference unless
another one is clearly nearer to the pose of its head. The reference is warped onto the pose of the frame, and its tone
is matched to that of the frame: at once at the network's size, and at full size only where a viewer sees it. If no
reference looks like the face in the frame (another person, a shot that was not among the sparse frames), the frame's
own crop is used, with its lips closed. Each crop is judged alone, so the result is local in time.

The sparse frames also show how large the faces are, and how large crops must be to keep the filmed detail. A network
that composes its output with the pixels of the crop gets crops of that size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

import cv2
import numpy as np

from model.arrays import F32, F64, U8
from model.composition import FilmedCrops, Part, shrink
from model.framing import Framing
from model.known_pixels import PosedPicture, PosedReference
from worker.faces.candidate import Candidate, blotches, cover_poses, group_by_look
from worker.faces.crop import Transform, face_transform
from worker.faces.detect import face_height, mouth_size
from worker.faces.likeness import Likeness, covered_mouths
from worker.faces.lip_range import USUAL_MOVEMENT, Movements, lip_movement
from worker.faces.pose import TEMPLES
from worker.faces.reference_face import ReferenceFace
from worker.faces.subject import MIN_HEIGHT_PX, Chooser, SparseFrame
from worker.media.colour import ColourMatrix

MAX_DETAIL: Final = 5  # largest width of crops, in widths of the network
SLACK: Final = 0.05  # how much smaller than the filmed face a crop may be, in widths of the network
PROFILE: Final = 35.0  # degrees of yaw beyond which half of the mouth is hardly seen
MAX_OPEN: Final = 4  # of one look of a person
HOLD: Final = 6.0  # by how many degrees another reference must be nearer than the main one to take its place
FADE: Final = 2.0  # difference in degrees over which one reference fades into another
AGREE: Final = 6.5  # mean difference in 8-bit levels, at the network's size, up to which two of them may be mixed
BAND: Final = 0.03  # height of the rows above the first hidden row whose tone is continued, in sides of the crop
SPREAD: Final = 0.04  # sigma along the row over which their tone is smoothed, in sides of the crop
FADE_OUT: Final = 0.25  # height over which the continued tone fades out, in sides of the crop
MAX_STEP: Final = 20.0  # largest change of tone at the row, in 8-bit levels
UNSEEN: Final = 0.08  # share of a crop above the first hidden row; only the network sees what lies above that


class CropShape(Protocol):
    """Shape of the crops that a network takes."""

    @property
    def image_size(self) -> int:
        """Return the side of the network's crops in pixels."""

    @property
    def framing(self) -> Framing:
        """Return which square of the face a crop shows."""

    @property
    def keeps_detail(self) -> bool:
        """Return whether crops may be larger than `image_size` by a whole factor, and keep their detail."""


@dataclass(frozen=True)
class SeenFace:
    """Face of a frame that is redrawn.

    crop: (S, S, 3) uint8 RGB. points: landmarks (468, 2) in crop pixels. likeness: its colours. person: number of the
    person. alike: the references that look like the face; without any, its own crop takes the place of one.
    """

    crop: U8
    points: F64
    likeness: Likeness
    person: int
    alike: Sequence[ReferenceFace] = ()


class ReferenceCrops:
    """References of a clip.

    resting: faces with closed lips, the main one of each look of a person first. open_candidates: faces as filmed, the
    most open mouth first. size: side of all crops of the clip in pixels. covered: share of the sparse faces whose mouth
    something covers. in_profile: share of those that are turned farther than PROFILE degrees to the side.
    """

    def __init__(
        self,
        resting: Sequence[ReferenceFace],
        open_candidates: Sequence[ReferenceFace],
        shape: CropShape,
        chooser: Chooser,
        size: int,
        limits: tuple[float, float] = (0.0, 0.0),
        movements: Movements = MappingProxyType({}),
    ) -> None:
        self.resting, self.open_candidates = list(resting), list(open_candidates)
        self.size = size
        self.covered, self.in_profile = limits
        self.movements = movements
        self._hidden_from, self._network_px, self._chooser = shape.framing.hidden_from, shape.image_size, chooser

    @classmethod
    def choose(
        cls, sparse: Sequence[SparseFrame], shape: CropShape, colour: ColourMatrix, chooser: Chooser
    ) -> ReferenceCrops:
        """Choose the references from the sparse frames of a clip: faces of the chosen people only."""
        seen = [
            (frame, face) for frame in sparse for face in chooser.pick(frame.faces) if face.height_px >= MIN_HEIGHT_PX
        ]
        size = crop_size([face.landmarks for _, face in seen], shape)
        people: dict[int, list[Candidate]] = {}
        for frame, face in seen:
            candidate = Candidate(frame.planes, colour, face, face_transform(face.landmarks, shape.framing, size))
            people.setdefault(chooser.person_of(face.center), []).append(candidate)
        resting: list[ReferenceFace] = []
        opened: list[ReferenceFace] = []
        covered = 0
        movements: dict[int, tuple[float, float]] = {}
        for person, faces in people.items():
            hidden = covered_mouths([face.likeness for face in faces])
            covered += sum(hidden)
            free = [face for face, is_hidden in zip(faces, hidden, strict=True) if not is_hidden]
            looks = group_by_look(free)
            for look in looks:
                clean = [face for face, excess in zip(look, blotches(look), strict=True) if not excess]
                most_open = sorted(clean, key=lambda face: -face.aperture)[:MAX_OPEN]
                resting += [ReferenceFace.of(face, person).with_closed_lips() for face in cover_poses(look)]
                opened += [ReferenceFace.of(face, person) for face in most_open]
            if looks:  # two people who take turns in one place have different lips: only the main look tells the range
                movements[person] = lip_movement([face.landmarks for face in looks[0]])
        count = max(1, len(seen))
        in_profile = sum(abs(face.angles[0]) > PROFILE for faces in people.values() for face in faces)
        return cls(resting, opened, shape, chooser, size, (covered / count, in_profile / count), movements)

    def arrays(self) -> dict[str, Any]:
        """Return everything as arrays, for a file."""
        faces = [*self.resting, *self.open_candidates]
        return {
            "crops": np.array([face.crop for face in faces], np.uint8),
            "points": np.array([face.landmarks for face in faces], np.float32),
            "depths": np.array([face.depths for face in faces], np.float32),
            "apertures": np.array([face.aperture for face in faces], np.float64),
            "persons": np.array([face.person for face in faces], np.int64),
            "resting": np.array([len(self.resting), self.size], np.int64),
            "limits": np.array([self.covered, self.in_profile], np.float64),
            "movers": np.array(list(self.movements), np.int64),
            "movements": np.array(list(self.movements.values()), np.float64).reshape(-1, 2),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Any], shape: CropShape, chooser: Chooser) -> ReferenceCrops:
        """Return what `arrays` saved."""
        columns = (arrays[name] for name in ("crops", "points", "depths", "apertures", "persons"))
        faces = [
            ReferenceFace(crop, points, depths, float(aperture), int(person))
            for crop, points, depths, aperture, person in zip(*columns, strict=True)
        ]
        resting, size = (int(number) for number in arrays["resting"])
        covered, in_profile = (float(share) for share in arrays["limits"])
        moved = zip(arrays["movers"].tolist(), arrays["movements"].tolist(), strict=True)
        movements = {person: (opening, spreading) for person, (opening, spreading) in moved}
        return cls(faces[:resting], faces[resting:], shape, chooser, size, (covered, in_profile), movements)

    def see(self, crops: FilmedCrops, faces: Sequence[F32], transforms: Sequence[Transform]) -> list[SeenFace]:
        """Read what is needed of each crop to find its reference and its interior.

        faces: landmarks (468, 2) of each crop in frame pixels. transforms: from the frame to each crop.
        """
        seen = []
        for small, crop, face, transform in zip(crops.seen, crops.pixels, faces, transforms, strict=True):
            points = transform.apply(face)
            person = self._chooser.person_of((face.min(axis=0) + face.max(axis=0)) / 2)
            likeness = Likeness.of(small, points * (len(small) / len(crop)))
            alike = [one for one in self.resting if one.person == person and likeness.is_same(one.likeness)]
            seen.append(SeenFace(crop, points, likeness, person, alike))
        return seen

    def rows_read(self, part: Part | None) -> slice:
        """Return the rows of a crop whose detail is seen where a part of it is shown; below them, references are seen.

        The network moves pixels from farther above by less than a trace.
        """
        factor = self.size // self._network_px
        last = int(np.ceil(self.size * self._hidden_from / factor)) * factor
        top = last if part is None else min(part.top * factor, last)
        return slice(max(0, top - int(np.ceil(UNSEEN * self._network_px)) * factor), last)

    def movement_of(self, person: int) -> tuple[float, float]:
        """Return how far a person opens and spreads the lips; one who was not seen before moves as usual."""
        return self.movements.get(person, USUAL_MOVEMENT)

    def for_faces(self, seen: Sequence[SeenFace]) -> list[PosedReference]:
        """Return the reference of each face in the pose of its crop."""
        return [self._for_face(face) for face in seen]

    def _for_face(self, seen: SeenFace) -> PosedReference:
        points, alike = seen.points.astype(np.float32), seen.alike
        if not alike:
            own = ReferenceFace(seen.crop, points, np.zeros(len(points), np.float32), _aperture(points))
            closed = own.with_closed_lips().crop
            return PosedReference(shrink(closed[None], self._network_px)[0], PosedPicture(closed))
        if len(alike) == 1:
            return PosedReference(*self._posed(alike[0], seen))
        turns = np.array([np.hypot(*face.carrier.turn(points)) for face in alike])
        turns[1:] += HOLD
        nearest, next_one = (int(number) for number in np.argsort(turns, kind="stable")[:2])
        best, picture = self._posed(alike[nearest], seen)
        lead = float(turns[next_one] - turns[nearest])
        if lead >= FADE:
            return PosedReference(best, picture)
        other, second = self._posed(alike[next_one], seen)
        if float(cv2.absdiff(best[self._row :], other[self._row :]).mean()) > AGREE:
            return PosedReference(best, picture)
        share = 0.5 + 0.5 * lead / FADE
        mixed = np.asarray(cv2.addWeighted(best, share, other, 1.0 - share, 0.0), np.uint8)
        return PosedReference(mixed, picture, second, share)

    @property
    def _row(self) -> int:
        """Return the first hidden row at the network's size."""
        return round(self._network_px * self._hidden_from)

    def _posed(self, face: ReferenceFace, seen: SeenFace) -> tuple[U8, PosedPicture]:
        """Bring a reference onto the pose and the tone of a face: as the network sees it, and as a viewer does."""
        points, size, row = seen.points.astype(np.float32), self._network_px, self._row
        shift, tone = face.shift_to(points), face.likeness.tone_table(seen.likeness)
        small = np.asarray(cv2.LUT(face.seen_by_network(shift, size), tone), np.uint8)
        factor, band = len(seen.crop) // size, slice(row - max(2, round(BAND * size)), row)
        above = seen.crop[band.start * factor : band.stop * factor]
        filmed = cv2.resize(above, (size, band.stop - band.start), interpolation=cv2.INTER_AREA)
        difference = (filmed.astype(np.float64) - small[band]).mean(axis=0)
        added = tone_step(difference, points / factor, row)
        below = small[row:]
        cv2.add(below, added[row:], dst=below, dtype=cv2.CV_8U)  # rounds and clips
        return small, PosedPicture(face.enlarged, shift, tone, added)


def tone_step(difference: F64, points: F32, row: int) -> F32:
    """Return what is added to a reference below a row so that its colours continue those above it, (S, S, 3) levels.

    difference (S, 3): what the columns of the crop have more than those of the reference just above the row. It is
    smoothed along the row and fades out below it. points: landmarks (468, 2) in the same pixels.
    """
    size = len(difference)
    at = np.arange(size) + 0.5
    low, high = np.sort(points[list(TEMPLES), 0])[[2, 3]]
    inside = ((at > low) & (at < high)).astype(np.float64)[:, None]
    stacked = np.concatenate([np.clip(difference, -MAX_STEP, MAX_STEP) * inside, inside], axis=1)
    smooth = cv2.GaussianBlur(stacked[None], (0, 0), SPREAD * size, borderType=cv2.BORDER_CONSTANT)[0]
    step = (smooth[:, :3] / (smooth[:, 3:] + 0.05)).astype(np.float32)
    rows = min(round(FADE_OUT * size), size - row)
    below = np.clip((np.arange(size) - row) / rows, 0.0, 1.0)
    share = (0.5 + 0.5 * np.cos(np.pi * below)).astype(np.float32)
    return np.asarray(share[:, None, None] * step, np.float32)


def crop_size(faces: Sequence[F32], shape: CropShape) -> int:
    """Return the side of crops that keep the detail of most faces (468, 2), a multiple of the network's side."""
    if not shape.keeps_detail or not faces:
        return shape.image_size
    sides_px = [shape.image_size / face_transform(face, shape.framing, shape.image_size).scale for face in faces]
    return shape.image_size * int(np.clip(np.ceil(np.median(sides_px) / shape.image_size - SLACK), 1, MAX_DETAIL))


def _aperture(points: F32) -> float:
    """Return how open the lips are, in face heights."""
    return mouth_size(points)[0] / face_height(points)
