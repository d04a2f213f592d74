"""What goes into a run of the pipeline and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from app.core.jobs import AudioFacts, JobInput, JobOptions, Report, ResultFacts

if TYPE_CHECKING:
    from worker.pipeline.synthesis import SynthesizerLike


@dataclass(frozen=True)
class Sources:
    """The files of a job and what probing said of them; the mix, if any, is heard instead of the voice."""

    video: Path
    audio: Path
    audio_mix: Path | None
    input: JobInput

    @property
    def sound(self) -> tuple[Path, AudioFacts]:
        """Return the file that is heard in the output."""
        if self.audio_mix is not None and self.input.audio_mix is not None:
            return self.audio_mix, self.input.audio_mix
        return self.audio, self.input.audio


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    result: ResultFacts
    report: Report
    warnings: list[str]


@dataclass(frozen=True)
class Order:
    """A clip to be done: what, by which network, in which folder, and who hears how it goes."""

    sources: Sources
    options: JobOptions
    synthesizer: SynthesizerLike
    work_dir: Path
    monitor: Monitor
    ffmpeg: str | None = None


@dataclass(frozen=True)
class Files:
    """Two files that belong together: the samples of a plan or the pictures of a segment, and what is known of them."""

    media: Path
    facts: Path


@dataclass(frozen=True)
class Split:
    """Say that a clip is to be done in so many segments, so many frames in all, by a plan."""

    segments: int
    frames: int
    plan: Files


class Monitor(Protocol):
    """Hear how a job goes, and end it: `check` is called at least once a second and raises to stop."""

    def stage(self, name: str) -> None:
        """Hear that a stage begins."""

    def frames(self, done: int, total: int) -> None:
        """Hear how many output frames are done."""

    def check(self) -> None:
        """Raise LipSyncError where the job must stop."""
