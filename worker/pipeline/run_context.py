"""Input and output of a run of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from app.core.dubs import voice_names
from app.core.jobs import AudioFacts, JobInput, JobOptions, Report, ResultFacts
from app.core.storage.cache import JobCache
from worker.media.sound_feed import PlayedSound
from worker.media.video_codecs import VideoCodecs
from worker.media.voice import MIN_VOICE_S

if TYPE_CHECKING:
    from worker.faces.detect import DetectorPool
    from worker.pipeline.synthesis import FaceSynthesizer


@dataclass(frozen=True)
class Sources:
    """Files of a job and their probed facts; `audio_mix` replaces all other sound of the output.

    voices: the file of each entry of the option `segments`; there are some exactly if there is no `audio`.
    """

    video: Path
    audio: Path | None
    audio_mix: Path | None
    input: JobInput
    voices: tuple[Path, ...] = ()

    @classmethod
    def of_files(cls, files: Mapping[str, Path], facts: JobInput, options: JobOptions) -> Sources:
        """Return the sources of a job whose files have the names that they have in the storage."""
        voices = tuple(files[name] for name in voice_names(options.segments))
        return cls(files["video"], files.get("audio"), files.get("audio_mix"), facts, voices)

    @property
    def played_voices(self) -> list[PlayedSound]:
        """Return the voices that the network hears: that of the job, or that of each dub."""
        if self.audio is not None and self.input.audio is not None:
            return [PlayedSound(self.audio, self.input.audio, self._begin_s(self.input.audio))]
        files = zip(self.voices, self.input.segments, strict=True)
        return [PlayedSound(path, facts, self._begin_s(facts)) for path, facts in files]

    @property
    def mix(self) -> PlayedSound | None:
        """Return the sound that replaces all other sound of the output, if there is one."""
        if self.audio_mix is None or self.input.audio_mix is None:
            return None
        return PlayedSound(self.audio_mix, self.input.audio_mix, self._begin_s(self.input.audio_mix))

    @property
    def film_sound(self) -> PlayedSound | None:
        """Return the film's own sound; None if it has none, or none that was asked for."""
        facts = self.input.film_audio
        return None if facts is None else PlayedSound(self.video, facts, self._begin_s(facts))

    def _begin_s(self, facts: AudioFacts) -> float:
        """Return the silence before a sound in seconds; if negative, so much of it is left out.

        The sound of the film itself begins with its first picture, so they stay together. Of any other sound nothing
        is left out.
        """
        is_of_film = facts.sha256 == self.input.video.sha256
        if is_of_film and facts.duration_s + facts.start_s >= MIN_VOICE_S:
            return facts.start_s
        return max(0.0, facts.start_s)


@dataclass(frozen=True)
class FinishedClip:
    """Facts of a finished MP4, the report on it, and warnings for the user."""

    result: ResultFacts
    report: Report
    warnings: list[str]


@dataclass(frozen=True)
class RunContext:
    """Input of a run: files, options, network, work folder, monitor, face detectors, and the path of ffmpeg if set.

    cache: what earlier jobs of the same owner found; None: everything is found anew. codecs: what decodes and encodes.
    """

    sources: Sources
    options: JobOptions
    synthesizer: FaceSynthesizer
    work_dir: Path
    monitor: Monitor
    detectors: DetectorPool
    ffmpeg: str | None = None
    cache: JobCache | None = None
    codecs: VideoCodecs = field(default_factory=VideoCodecs)


@dataclass(frozen=True)
class FilePair:
    """Media file with its file of facts: sound and decisions of a plan, or encoded frames and facts of a segment."""

    media: Path
    facts: Path


@dataclass(frozen=True)
class PlannedClip:
    """Clip to be rendered in segments: number of segments, frames of the whole clip, and the files of its plan."""

    segments: int
    frames: int
    plan: FilePair


class Monitor(Protocol):
    """Receiver of the progress of a run, which can also stop it."""

    def stage(self, name: str) -> None:
        """Note that a stage begins."""

    def frames(self, done: int, total: int) -> None:
        """Note how many frames of the output are done."""

    def check(self) -> None:
        """Raise LipSyncError if the run must stop; called at least once a second."""


class SilentMonitor:
    """Monitor that ignores the progress and never stops the run."""

    def stage(self, name: str) -> None:
        """Ignore the stage."""

    def frames(self, done: int, total: int) -> None:
        """Ignore the progress."""

    def check(self) -> None:
        """Never stop."""
