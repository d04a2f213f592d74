"""Decide who speaks in each shot of a film, by the film's own sound and lips: the choice `face=speaking`.

The shown part is decoded once to find its cuts. In each shot, every other frame of the few seconds with most speech is
looked at: who is there, and the shape of their lips. Whose lips fit the film's own sound best speaks in that shot, if
they fit well enough; otherwise nobody does. In a shot that is too short to compare lips and sound, somebody who is
there alone is taken to speak. All of this is decided in the plan, so segments share it; its cost grows with the number
of shots.

A person is told by number, counted from the left as in `index:N`. So a stretch with this choice becomes one for each
person who speaks in it, with the frames of those shots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, Protocol

import numpy as np

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError
from app.core.face_choice import SPEAKING
from model.arrays import F64, I16, I64, U8
from model.audio import SAMPLE_RATE_HZ
from model.evaluation.lip_voice import LEAST_S, load_model, match_lips
from worker.faces.cuts import is_cut, thumbnail
from worker.faces.detect import FaceDetector
from worker.faces.frame_view import PlanesView
from worker.faces.lips import read_lips
from worker.faces.people import Subject, match_people
from worker.media.decode import Source, decode
from worker.pipeline.dubs import Stretch
from worker.pipeline.sync_confidence import choose_frames

SPEAKS_ABOVE: Final = 0.2  # nine of ten people match their own voice better, three of four strangers do not
SURE_ABOVE: Final = 0.3
CLEARLY: Final = 0.1  # by how much the best match must exceed the others to be sure
SHORT_SHOT_FRAMES: Final = 5  # that are looked at in a shot that is too short to compare lips and sound


@dataclass(frozen=True)
class ShotSpeaker:
    """Speaker of the source frames [first, last): the number of the person, None if nobody is known to speak."""

    first: int
    last: int
    person: int | None
    is_sure: bool


class FindsSpeakers(Protocol):
    """Finder of the speakers of a film."""

    def find(self, first: int, last: int) -> list[ShotSpeaker]:
        """Return who speaks in each shot of the source frames [first, last), in order."""


@dataclass
class _Seen:
    """Lips of one person in a shot: the frames in which the person is seen, and the shapes of the lips."""

    numbers: list[int] = field(default_factory=list)
    lips: list[F64] = field(default_factory=list)


class SpeakerFinder:
    """Finder of the speakers of a film, among people who are known; voice: the film's sound (n,) int16 at 16 kHz."""

    def __init__(
        self, source: Source, people: Sequence[Subject], voice: I16, detector: FaceDetector, check: Check
    ) -> None:
        self._source, self._people, self._voice = source, people, voice
        self._detector, self._check, self._model = detector, check, load_model()

    def find(self, first: int, last: int) -> list[ShotSpeaker]:
        """Return who speaks in each shot of the source frames [first, last)."""
        frames = decode(self._source, first, last, self._check)
        return [self._speaker(*shot) for shot in find_shots(frames, first)]

    def _speaker(self, first: int, last: int) -> ShotSpeaker:
        rate = self._source.rate
        if last - first < LEAST_S * rate:
            step = max(1, (last - first) // SHORT_SHOT_FRAMES)
            alone = {person for person, one in self._look(first, last, step).items() if one.numbers}
            return ShotSpeaker(first, last, alone.pop() if len(alone) == 1 else None, False)
        begin = max(0, round(float(first / rate) * SAMPLE_RATE_HZ))
        heard = self._voice[begin : round(float(last / rate) * SAMPLE_RATE_HZ)]
        frames = choose_frames(heard, (first, last), rate, begin / SAMPLE_RATE_HZ).frames
        matches = {
            person: match
            for person, seen in self._look(frames.first, frames.last, frames.step).items()
            if (match := self._match(seen)) is not None
        }
        best = max(matches, key=lambda person: matches[person], default=None)
        if best is None or matches[best] < SPEAKS_ABOVE:
            return ShotSpeaker(first, last, None, True)
        others = [match for person, match in matches.items() if person != best]
        is_clear = matches[best] >= SURE_ABOVE and matches[best] >= max(others, default=0.0) + CLEARLY
        return ShotSpeaker(first, last, best, is_clear)

    def _look(self, first: int, last: int, step: int) -> dict[int, _Seen]:
        """Return the lips of each person in every `step`-th of the source frames [first, last)."""
        found: dict[int, _Seen] = {}
        for number, planes in enumerate(decode(self._source, first, last, self._check), first):
            if (number - first) % step:
                continue
            self._check()
            faces = self._detector.detect_in(PlanesView(planes, self._source.colour))
            for person, match in match_people(faces, self._people).items():
                landmarks = faces[match.face].landmarks
                lips = read_lips(self._detector.placed_mesh, planes, self._source.colour, landmarks)
                if lips is not None:
                    seen = found.setdefault(person, _Seen())
                    seen.numbers.append(number)
                    seen.lips.append(lips)
        return found

    def _match(self, seen: _Seen) -> float | None:
        """Return how well the lips of a person fit the film's sound, None if too little is seen or heard."""
        times_s = np.array([float(number / self._source.rate) for number in seen.numbers])
        found = match_lips(self._model, self._model.shapes(np.array(seen.lips)), times_s, self._voice)
        return None if found is None else found.match


def find_shots(frames: Iterator[U8], first: int) -> list[tuple[int, int]]:
    """Return the shots [first, last) of frames (H * 3/2, W) uint8 I420, the first of which has the number `first`."""
    begins, before, number = [first], None, first
    for number, planes in enumerate(frames, first):
        small = thumbnail(planes)
        if before is not None and is_cut(before, small):
            begins.append(number)
        before = small
    return list(zip(begins, [*begins[1:], number + 1], strict=True))


def runs_of(speakers: Sequence[ShotSpeaker], timeline: I64, span: tuple[int, int]) -> dict[int, list[tuple[int, int]]]:
    """Return the ranges of output frames [first, last) within a span in which each person speaks.

    timeline: the source frame of each output frame, (N,) int64.
    """
    firsts = np.array([shot.first for shot in speakers])
    persons = np.array([-1 if shot.person is None else shot.person for shot in speakers])
    shown = persons[np.clip(np.searchsorted(firsts, timeline[slice(*span)], "right") - 1, 0, None)]
    edges = [0, *(np.flatnonzero(np.diff(shown)) + 1).tolist(), len(shown)]
    found: dict[int, list[tuple[int, int]]] = {}
    for begin, end in pairwise(edges):
        if shown[begin] >= 0:
            found.setdefault(int(shown[begin]), []).append((span[0] + begin, span[0] + end))
    return found


def speakers_of(
    stretches: Sequence[Stretch], timeline: I64, finder: FindsSpeakers | None
) -> tuple[list[Stretch], list[str]]:
    """Return the stretches, in place of each with `face=speaking` one for each speaker in it, and warnings.

    finder: needed if there is such a stretch. Raises InputError if nobody speaks in any of them and there is no other.
    """
    found: list[Stretch] = []
    warnings: list[str] = []
    for stretch in stretches:
        if stretch.options.face != SPEAKING or finder is None:
            found.append(stretch)
            continue
        (first, last), *_ = stretch.source_ranges(timeline)
        shots = finder.find(first, last)
        for person, spans in sorted(runs_of(shots, timeline, stretch.span).items()):
            options = stretch.options.model_copy(update={"face": f"index:{person}"})
            found.append(replace(stretch, options=options, spans=tuple(spans)))
        warnings += [f"{stretch.prefix}{warning}" for warning in speaker_warnings(shots)]
    if not found:
        raise InputError(ErrorCode.FACE_NOT_FOUND, "Nobody's lips fit the video's own sound in any shot.")
    return found, warnings


def speaker_warnings(speakers: Sequence[ShotSpeaker]) -> list[str]:
    """Return warnings about shots in which nobody speaks as far as can be told, or in which that is not sure."""
    warnings = []
    silent = sum(shot.person is None for shot in speakers)
    unsure = sum(shot.person is not None and not shot.is_sure for shot in speakers)
    if silent:
        warnings.append(f"In {silent} of {len(speakers)} shots nobody's lips fit the video's own sound; they stay.")
    if unsure:
        warnings.append(f"In {unsure} of {len(speakers)} shots it is not sure who speaks.")
    return warnings
