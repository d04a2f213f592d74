"""Plan of a clip: the decisions that all its frames share, which are the sound, the timeline and the chosen faces.

The voices and their faces are dubs (`worker.pipeline.dubs`); an ordinary job has one, over the whole clip.

A speech encoder runs once for each voice, and its features are saved in half precision (38 kB a second). Voices and
features are read through memory maps, so the plan of an hour takes no more memory than the plan of a minute. A plan is
saved for segments that other processes render (`worker.pipeline.saved_plan`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from app.core.checks import Check
from app.core.face_choice import SPEAKING
from app.core.options import voices_end_s
from app.core.probing.probe import find_ffmpeg
from app.core.storage.cache import Entry
from model.arrays import I64
from worker.faces.detect import FaceDetector
from worker.faces.people import find_people
from worker.faces.subject import SparseFrame, find_sparse_faces
from worker.media.decode import Source, open_source
from worker.media.prefetch import Prefetch
from worker.media.stage_timer import StageTimer
from worker.media.timeline import plan_timeline
from worker.media.video_codecs import NVIDIA, SOFTWARE
from worker.media.voice import read_voice
from worker.pipeline.clip_cache import film_key, keep_choice, kept_choice
from worker.pipeline.dubs import Dub, Role, Stretch, stretches_of
from worker.pipeline.heard_voices import HeardVoice, SoundPart, hear_voices, open_sound, voice_length_s, voice_warnings
from worker.pipeline.roles import Cast, RoleChooser
from worker.pipeline.run_context import RunContext
from worker.pipeline.speaking import SpeakerFinder
from worker.pipeline.sync_confidence import LookedAt, choose_frames

MOST_LOOKED_AT: Final = 8  # dubs whose lips are compared with their voices; more would make a job slower


@dataclass(frozen=True)
class Plan:
    """Decisions that hold for every frame of a clip.

    voice_s: when the voice or the last stretch ends, in seconds. timeline: the source frame of each output frame, (N,)
    int64. stretches: one for each voice. dubs: the same, or with `face=speaking` one for each speaker. sound_file,
    sound_parts: what the network hears of each voice. encoder: what encodes all segments, `software` or `nvidia`.
    """

    source: Source
    voice_s: float
    timeline: I64
    stretches: tuple[Stretch, ...]
    dubs: tuple[Dub, ...]
    sound_file: Path
    sound_parts: tuple[SoundPart, ...]
    warnings: tuple[str, ...] = ()
    encoder: str = SOFTWARE

    @property
    def frames(self) -> int:
        """Return the number of output frames."""
        return len(self.timeline)


def make_plan(context: RunContext, detector: FaceDetector, timer: StageTimer) -> Plan:
    """Decode the voices, look at a few frames at the same time, and return the plan; raises InputError."""
    options, monitor = context.options, context.monitor
    end_s = voices_end_s(context.sources.input, options)

    def look(check: Check) -> Iterator[_Look]:
        with timer.time("faces"):
            found = _look(context, end_s, detector, check)
        yield found

    with Prefetch(look, 1, monitor.check, "look") as looked:
        monitor.stage("sound")
        with timer.time("sound"):
            voices, sound_file = hear_voices(context)
        monitor.stage("faces")
        found = next(iter(looked))
    source, voice_s = found.source, end_s if options.segments else voice_length_s(voices[0])
    timeline = plan_timeline(options, source, voice_s)
    stretches = [_fitted(stretch, found.frames, len(timeline)) for stretch in found.cast.stretches]
    with timer.time("sound"):
        looked_at = _looked_at(stretches, voices, source)
    parts = tuple(voice.part for voice in voices)
    sounds = [open_sound(sound_file, part, context.synthesizer) for part in parts]
    dubs = tuple(
        Dub(stretch, role, sounds[stretch.number], chosen)
        for stretch, role, chosen in zip(stretches, found.cast.roles, looked_at, strict=True)
    )
    spoken = tuple(stretches_of(options, source, timeline))
    encoder = SOFTWARE if context.codecs.encoder_gpu is None else NVIDIA
    warnings = (*voice_warnings(voices, is_whole_clip=not options.segments), *found.cast.warnings)
    return Plan(source, voice_s, timeline, spoken, dubs, sound_file, parts, warnings, encoder)


@dataclass(frozen=True)
class _Look:
    """What the film shows: the video, who gets which voice, and the number of output frames that was assumed."""

    source: Source
    cast: Cast
    frames: int


def _look(context: RunContext, end_s: float, detector: FaceDetector, check: Check) -> _Look:
    """Look at a few frames and decide who gets which voice; the voices are not needed for that. Raises InputError.

    end_s: the length of the voice as it was probed, or the end of the last stretch.
    """
    sources, options, shape = context.sources, context.options, context.synthesizer.config
    ffmpeg, codecs = find_ffmpeg(context.ffmpeg), context.codecs
    source = open_source(sources.video, sources.input.video, ffmpeg, check, codecs=codecs)
    # As `find_faces_in` does, by the length that was probed: both must look at the same frames.
    shown = plan_timeline(options, source, end_s)
    stretches = stretches_of(options, source, shown)
    entry = _cache_entry(context, source, shown, stretches)
    known = kept_choice(entry, shape)
    if known is not None:
        return _Look(source, Cast(stretches, [Role(*known)]), len(shown))
    sparse = find_sparse_faces(source, shown, detector, check)
    finder = _speaker_finder(context, stretches, source, sparse, detector, check)
    cast = RoleChooser(source, shown, sparse, detector, check).cast(stretches, finder, shape)
    if entry is not None:
        keep_choice(entry, cast.roles[0].chooser, cast.roles[0].references)
    return _Look(source, cast, len(shown))


def _fitted(stretch: Stretch, assumed: int, frames: int) -> Stretch:
    """Return a stretch of an output with a number of frames that may differ from the assumed one by a few."""
    spans = [(first, frames if last == assumed else min(last, frames)) for first, last in stretch.spans]
    return replace(stretch, spans=tuple((first, last) for first, last in spans if first < last) or stretch.spans[:1])


def _cache_entry(context: RunContext, source: Source, shown: I64, stretches: Sequence[Stretch]) -> Entry | None:
    """Return the place of the chosen faces among the findings of earlier jobs; None for several dubs."""
    choice, shape = context.options.face, context.synthesizer.config
    if context.cache is None or stretches[0].name or choice == SPEAKING:
        return None
    crops, span = (shape.image_size, shape.framing, shape.keeps_detail), (int(shown.min()), int(shown.max()) + 1)
    return context.cache.entry("references", film_key(source), span, choice, crops)


def _speaker_finder(
    context: RunContext,
    stretches: Sequence[Stretch],
    source: Source,
    sparse: Sequence[SparseFrame],
    detector: FaceDetector,
    check: Check,
) -> SpeakerFinder | None:
    """Return the finder of speakers if a stretch needs one; the film's own sound is decoded for it."""
    film = context.sources.film_sound
    if film is None or all(stretch.options.face != SPEAKING for stretch in stretches):
        return None
    folder = context.work_dir / "film"
    folder.mkdir()
    heard = read_voice(film.path, film.facts, folder, check, film.begin_s)
    return SpeakerFinder(source, find_people([frame.faces for frame in sparse]), heard, detector, check)


def _looked_at(stretches: Sequence[Stretch], voices: Sequence[HeardVoice], source: Source) -> list[LookedAt | None]:
    """Return which frames of each dub are compared with its voice: some of the longest dubs."""
    lengths = [stretch.span[1] - stretch.span[0] for stretch in stretches]
    longest = sorted(range(len(stretches)), key=lambda number: -lengths[number])[:MOST_LOOKED_AT]
    return [
        choose_frames(voices[stretch.number].samples, stretch.span, source.rate, stretch.begin_s)
        if number in longest
        else None
        for number, stretch in enumerate(stretches)
    ]
