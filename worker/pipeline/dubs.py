"""Dubs of a clip: each is one voice for chosen faces, over a range of output frames.

An ordinary job is one dub over the whole clip. The option `segments` makes several, whose ranges may overlap and may
leave gaps. A range is rounded to frames; the voice begins at the exact time of the stretch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from app.core.dubs import dub_name
from app.core.jobs import JobOptions
from app.core.options import options_of_dub
from model.arrays import I64
from model.sound import Sound
from worker.faces.dub_tracks import DubRange
from worker.faces.reference import ReferenceCrops
from worker.faces.subject import Chooser
from worker.media.decode import Source
from worker.media.dub_sound import DubbedSound, DubSound
from worker.media.sound_feed import OutputSound
from worker.media.timeline import Grid
from worker.pipeline.run_context import Sources
from worker.pipeline.sync_confidence import LookedAt


@dataclass(frozen=True)
class Stretch:
    """Stretch of the output that gets a voice.

    name: what warnings call it; "" if it is the whole clip. number: of its voice. options: as they hold for it. spans:
    its ranges of output frames [first, last); more than one where a person speaks in some shots only. begin_s, end_s:
    its times in seconds of the output, also where they lie outside of the output.
    """

    name: str
    number: int
    options: JobOptions
    spans: tuple[tuple[int, int], ...]
    begin_s: float
    end_s: float

    @property
    def span(self) -> tuple[int, int]:
        """Return the longest of its ranges."""
        return max(self.spans, key=lambda span: span[1] - span[0])

    @property
    def prefix(self) -> str:
        """Return what stands before its warnings."""
        return f"{self.name}: " if self.name else ""

    def source_ranges(self, timeline: I64) -> list[tuple[int, int]]:
        """Return the ranges [first, last) of the source frames that it shows, in order and apart from each other."""
        ranges: list[tuple[int, int]] = []
        shown = (timeline[slice(*span)] for span in self.spans)
        for first, last in sorted((int(part.min()), int(part.max()) + 1) for part in shown):
            if ranges and first <= ranges[-1][1]:
                ranges[-1] = ranges[-1][0], max(ranges[-1][1], last)
            else:
                ranges.append((first, last))
        return ranges


@dataclass(frozen=True)
class Role:
    """Chosen faces of one dub or of several: the rule that picks them, and their references."""

    chooser: Chooser
    references: ReferenceCrops


@dataclass(frozen=True)
class Dub:
    """Decisions on one dub.

    sound: what the network hears of its voice, which is silent wherever the gate is closed. looked_at: the output
    frames whose lips are compared with the voice; None: no frames of this dub.
    """

    stretch: Stretch
    role: Role
    sound: Sound
    looked_at: LookedAt | None

    @property
    def chooser(self) -> Chooser:
        """Return the rule that picks its faces."""
        return self.role.chooser

    @property
    def references(self) -> ReferenceCrops:
        """Return the references of its people."""
        return self.role.references

    @property
    def options(self) -> JobOptions:
        """Return the options as they hold for it."""
        return self.stretch.options

    @property
    def begin_s(self) -> float:
        """Return when its voice begins, in seconds of the output."""
        return self.stretch.begin_s


def stretches_of(options: JobOptions, source: Grid, timeline: I64) -> list[Stretch]:
    """Return the stretches of a clip in the order of the option `segments`; without it, one over the whole clip."""
    count = len(timeline)
    if not options.segments:
        return [Stretch("", 0, options, ((0, count),), 0.0, float(count / source.rate))]
    before = 0 if source.is_still else int(timeline[0])
    found = []
    for number, dub in enumerate(options.segments):
        edges = [int(Fraction(at_s) * source.rate + Fraction(1, 2)) - before for at_s in (dub.start_s, dub.end_s)]
        first = min(max(0, edges[0]), count - 1)
        times_s = (at_s - float(before / source.rate) for at_s in (dub.start_s, dub.end_s))
        span = (first, min(max(first + 1, edges[1]), count))
        found.append(Stretch(dub_name(number), number, options_of_dub(options, dub), (span,), *times_s))
    return found


def dub_ranges(dubs: Sequence[Dub], timeline: I64, span: tuple[int, int]) -> list[DubRange]:
    """Return the source frames in which the faces of dubs are looked for, to render the output frames of a span."""
    ranges = []
    for number, dub in enumerate(dubs):
        spans = tuple(one for one in dub.stretch.spans if one[0] < span[1] and span[0] < one[1])
        for source_range in replace(dub.stretch, spans=spans).source_ranges(timeline):
            ranges.append(DubRange(number, *source_range, dub.chooser))
    return ranges


def dubs_at(frame: int, dubs: Sequence[Dub]) -> list[int]:
    """Return the numbers of the dubs that an output frame belongs to."""
    return [
        number for number, dub in enumerate(dubs) if any(first <= frame < last for first, last in dub.stretch.spans)
    ]


def output_sound(sources: Sources, stretches: Sequence[Stretch], source: Source, timeline: I64) -> OutputSound:
    """Return the sound of the output: `audio_mix`, or else the voice, or the film with the voices of dubs."""
    if sources.mix is not None:
        return sources.mix
    voices = sources.played_voices
    if sources.audio is not None:
        return voices[0]
    pairs = zip(voices, stretches, strict=True)
    dubs = tuple(DubSound(voice, stretch.begin_s, stretch.end_s) for voice, stretch in pairs)
    skipped_s = 0.0 if source.is_still else float(int(timeline[0]) / source.rate)
    return DubbedSound(sources.film_sound, skipped_s, dubs)
