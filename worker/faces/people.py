"""Tell the people of a clip apart and count them: once for a clip, from the faces of sparse frames.

A job and a check of its files count in the same way, so `index:N` means the same person in both. People are told apart
by the pattern of the face, and by the place where the pattern leaves a doubt. Two faces of one frame are two people.
Somebody who is seen only once among several frames is a passer-by, who is known but not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import numpy as np

from model.arrays import F32
from worker.faces.detect import Face
from worker.faces.pattern import OTHER, SAME, difference

NEAR: Final = 0.8  # distance between two faces in one place, in face heights
LIKE_HEIGHT: Final = 1.6  # largest ratio of the heights of two faces in one place
SIZES: Final = 3.0  # largest ratio of the heights of one person in two shots
ODD: Final = 0.55  # difference from which on even an odd view of a face, turned or grimacing, is somebody else
ELSEWHERE: Final = 0.22  # difference up to which faces in two places may belong to one person
CROWD: Final = 3  # faces in a frame; in a larger crowd, some face is always a little like the person
SAME_IN_CROWD: Final = 0.08
PLACE_WEIGHT: Final = 0.1  # difference of patterns that a large distance weighs as much as
REACH: Final = 2.5  # distance from which on a place tells nothing, in face heights
MOST_PATTERNS: Final = 6  # of one person
LINK: Final = 0.07  # difference between the most similar faces of one person, whatever the pose and the light
LEAST_SIGHTINGS: Final = 3  # of a look that is not a chance
SEVERAL: Final = 3  # frames with faces, from which on a person must be seen twice to be counted


@dataclass(frozen=True)
class Subject:
    """Person seen in the sparse frames.

    x, y: centre of the face in one frame, in pixels. box: its left, top, right and bottom. frame: number of that source
    frame, the same for all people if a frame shows them all. score: the detector's score 0..1 for the face. height_px:
    median height. sightings: number of frames that show the person. looks: 1, or more if the face looks different
    without anything in between, so that it may be two people's. places: centre x, y and height of each sighting.
    patterns: how the face looks.
    """

    x: float
    y: float
    height_px: float
    sightings: int
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    frame: int = 0
    score: float = 0.0
    looks: int = 1
    places: tuple[tuple[float, float, float], ...] = ()
    patterns: tuple[F32, ...] = field(default=(), compare=False, repr=False)

    def facts(self) -> dict[str, Any]:
        """Return everything in a form that JSON can hold."""
        patterns = [pattern.tolist() for pattern in self.patterns]  # exact, so that segments decide as one pass does
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "patterns": patterns}

    @classmethod
    def of_facts(cls, facts: dict[str, Any]) -> Subject:
        """Return what `facts` gave; those of earlier versions have a place and a height only."""
        patterns = tuple(np.array(pattern, np.float32) for pattern in facts.get("patterns", ()))
        places = tuple((x, y, height) for x, y, height in facts.get("places", ()))
        box = facts.get("box", (0.0, 0.0, 0.0, 0.0))
        return cls(**{**facts, "box": tuple(box), "places": places, "patterns": patterns})


@dataclass(frozen=True)
class Match:
    """Face that may belong to a person.

    face, person: their numbers. difference: of the patterns. apart: distance from the nearest place of the person, in
    face heights.
    """

    face: int
    person: int
    difference: float
    apart: float

    @property
    def cost(self) -> float:
        """Return how badly they fit: by the pattern, and by the place where patterns are alike."""
        return self.difference + PLACE_WEIGHT * min(1.0, self.apart / REACH)


def match_people(
    faces: Sequence[Face], people: Sequence[Subject], *, near: float = ODD, elsewhere: float = ELSEWHERE
) -> dict[int, Match]:
    """Return which face of a frame belongs to which person, by number of the person; no face belongs to two.

    near, elsewhere: differences from which on a face in a place of the person, or in another one, is somebody else's.
    """
    matches = []
    for number, face in enumerate(faces):
        for at, person in enumerate(people):
            apart, ratio = place = _apart(face, person)
            match = Match(number, at, difference(face.pattern, person.patterns), apart)
            is_near = apart <= NEAR and ratio <= LIKE_HEIGHT
            is_crowd = len(faces) > CROWD
            near_limit = min(near, OTHER) if is_crowd else near
            if match.difference < (near_limit if is_near else _limit(face, person, place, is_crowd, elsewhere)):
                matches.append(match)
    found: dict[int, Match] = {}
    taken: set[int] = set()
    for match in sorted(matches, key=lambda one: one.cost):
        if match.person not in found and match.face not in taken:
            found[match.person] = match
            taken.add(match.face)
    return found


def find_people(sparse: Iterable[Sequence[Face]], numbers: Sequence[int] = ()) -> tuple[Subject, ...]:
    """Return the people to be counted in the faces of sparse frames, from left to right.

    numbers: of the source frames.
    """
    return find_everybody(sparse, numbers)[0]


def find_everybody(
    sparse: Iterable[Sequence[Face]], numbers: Sequence[int] = ()
) -> tuple[tuple[Subject, ...], tuple[Subject, ...]]:
    """Return the people to be counted, from left to right in the frame that shows most of them, and the passers-by."""
    groups = _groups(sparse, numbers)
    frames = len({number for group in groups for number, _ in group.sightings})
    if frames >= SEVERAL:
        groups = _without_odd_views(groups)
    least = 2 if frames >= SEVERAL and any(len(group.sightings) > 1 for group in groups) else 1
    counted = [group for group in groups if len(group.sightings) >= least]
    shown = Counter(number for group in counted for number, _ in group.sightings)
    best = max(shown, key=lambda number: (shown[number], -number), default=None)
    people = [group.subject(best) for group in counted]
    others = [group.subject() for group in groups if len(group.sightings) < least]
    return tuple(sorted(people, key=lambda person: person.x)), tuple(others)


def _groups(sparse: Iterable[Sequence[Face]], numbers: Sequence[int]) -> list[_Group]:
    """Group the faces of sparse frames by person."""
    groups: list[_Group] = []
    for at, faces in enumerate(sparse):
        number = numbers[at] if at < len(numbers) else at
        found = match_people(faces, [group.subject() for group in groups], near=OTHER)
        belongs = {match.face: group for group, match in found.items()}
        for index, face in enumerate(faces):
            if index in belongs:
                groups[belongs[index]].add(number, face)
            else:
                groups.append(_Group([(number, face)], [] if face.pattern is None else [face.pattern]))
    return groups


def _without_odd_views(groups: list[_Group]) -> list[_Group]:
    """Return the groups, where a face that is seen once joins the person who is in its place in other frames."""
    kept = [group for group in groups if len(group.sightings) > 1]
    for group in groups:
        if len(group.sightings) > 1:
            continue
        (number, face), *_ = group.sightings
        free = [other for other in kept if all(number != seen for seen, _ in other.sightings)]
        match = match_people([face], [other.subject() for other in free], near=ODD)
        near = [one for one in match.values() if one.apart <= NEAR]
        if near:
            free[near[0].person].add(number, face)
        else:
            kept.append(group)
    return kept


@dataclass
class _Group:
    """Faces of one person in sparse frames, each with the number of its frame, and the patterns they show."""

    sightings: list[tuple[int, Face]]
    patterns: list[F32]

    def add(self, number: int, face: Face) -> None:
        """Add a face; its pattern is kept if it is new."""
        self.sightings.append((number, face))
        if face.pattern is None or len(self.patterns) >= MOST_PATTERNS:
            return
        if difference(face.pattern, self.patterns) > SAME / 4:
            self.patterns.append(face.pattern)

    def _looks(self) -> int:
        """Return how many times at least LEAST_SIGHTINGS faces form a chain of small differences, at least 1."""
        chains: list[list[F32]] = []
        for _, face in self.sightings:
            if face.pattern is None:
                continue
            near = [chain for chain in chains if difference(face.pattern, chain) < LINK]
            chains = [chain for chain in chains if all(chain is not one for one in near)]
            chains.append([pattern for chain in near for pattern in chain] + [face.pattern])
        return max(1, sum(len(chain) >= LEAST_SIGHTINGS for chain in chains))

    def subject(self, shown_in: int | None = None) -> Subject:
        """Return the person, as frame number `shown_in` or else the first frame shows the face."""
        centers = np.array([face.center for _, face in self.sightings], np.float64)
        number, typical = next((one for one in self.sightings if one[0] == shown_in), self.sightings[0])
        heights = [face.height_px for _, face in self.sightings]
        return Subject(
            float(typical.center[0]),
            float(typical.center[1]),
            float(median(heights)),
            len(self.sightings),
            typical.box,
            number,
            typical.score,
            1 if shown_in is None else self._looks(),
            tuple((float(x), float(y), height) for (x, y), height in zip(centers, heights, strict=True)),
            tuple(self.patterns),
        )


def _limit(face: Face, person: Subject, place: tuple[float, float], is_crowd: bool, elsewhere: float) -> float:
    """Return the difference from which on a face that is not in a place of the person is somebody else's."""
    apart, ratio = place
    if face.pattern is None or not person.patterns:
        return OTHER if apart <= REACH and ratio <= SIZES else 0.0
    return SAME_IN_CROWD if is_crowd or ratio > SIZES else elsewhere


def _apart(face: Face, person: Subject) -> tuple[float, float]:
    """Return the distance of a face from the nearest place of a person, in face heights, and the ratio of heights."""
    places = np.array(person.places or ((person.x, person.y, person.height_px),), np.float64)
    height = max(face.height_px, 1e-6)
    larger = np.maximum(places[:, 2], height)
    away = np.hypot(*(places[:, :2] - face.center).T) / larger
    ratios = larger / np.maximum(np.minimum(places[:, 2], height), 1e-6)
    nearest = int(np.argmin(away + np.log(ratios)))
    return float(away[nearest]), float(ratios[nearest])
