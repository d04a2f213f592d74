"""Lip-sync one clip in this process: the pipeline of the service, without server and queue."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from app.core.dub_voices import check_voices, job_files, options_to_keep, voice_paths, voice_place
from app.core.dubs import voice_names
from app.core.errors import InputError, naming
from app.core.jobs import AudioFacts, JobInput, JobOptions
from app.core.options import check_options_fit, needs_film_sound, option_error, options_from_text
from app.core.output_path import checked_output, ending_on_signals, shown
from app.core.probing.probe import Limits, probe_audio, probe_video
from app.core.settings import Settings
from worker.faces.detect import DetectorPool
from worker.loaded_network import load_generator, settle_network
from worker.media.codec_choice import settle_codecs
from worker.media.video_codecs import VideoCodecs
from worker.pipeline.render import run
from worker.pipeline.run_context import FinishedClip, RunContext, Sources


class ProgressBar:
    """Monitor that shows the progress of a run on the terminal."""

    def __enter__(self) -> ProgressBar:
        self._bar = tqdm(unit="frame")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def stage(self, name: str) -> None:
        """Show the name of the stage."""
        self._bar.set_description(name)

    def frames(self, done: int, total: int) -> None:
        """Show how many frames are done."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def check(self) -> None:
        """Never stop: Ctrl-C already ends the process."""


@dataclass(frozen=True)
class ClipFiles:
    """Input files of a clip: `audio`, or else the `voices` that the option `segments` names, by name."""

    video: Path
    audio: Path | None = None
    audio_mix: Path | None = None
    voices: Mapping[str, Path] = field(default_factory=dict)

    @property
    def by_name(self) -> dict[str, Path]:
        """Return the files that are given, by name."""
        named = {"video": self.video, "audio": self.audio, "audio_mix": self.audio_mix}
        return {name: path for name, path in named.items() if path is not None} | dict(self.voices)


def sync_clip(settings: Settings, files: ClipFiles, output: Path, options: Mapping[str, str | None]) -> FinishedClip:
    """Lip-sync a clip into the MP4 `output`; options are texts, None if not given.

    Raises LipSyncError with the same code as the service. On SIGTERM and SIGHUP no part of the output is left.
    """
    chosen = options_from_text({name: text for name, text in options.items() if text is not None})
    given = files.by_name
    output = checked_output(output, list(given.values()))
    check_voices(chosen, given, given)
    parts = job_files(chosen, given, {}) | _voice_paths(chosen, given)
    chosen = options_to_keep(chosen)
    facts = _probe(parts, chosen, Limits.of(settings))
    check_options_fit(chosen, facts, settings.max_duration_s)
    settings = settle_codecs(settings)
    synthesizer = load_generator(settle_network(settings))
    with tempfile.TemporaryDirectory(prefix="lipsync-") as folder, ProgressBar() as bar, DetectorPool() as detectors:
        sources = Sources.of_files(parts, facts, chosen)
        codecs = VideoCodecs.of(settings)
        context = RunContext(sources, chosen, synthesizer, Path(folder), bar, detectors, settings.ffmpeg, codecs=codecs)
        with ending_on_signals():
            return run(context, output)


def _voice_paths(options: JobOptions, files: Mapping[str, Path]) -> dict[str, Path]:
    """Return the paths of the voices of dubs; raises InputError for an address, which nothing fetches here."""
    for number, dub in enumerate(options.segments):
        if dub.audio not in files:
            raise option_error(f"{voice_place(number)}: must be a file here, not an address.")
    return voice_paths(options.segments, files, {})


def _probe(files: Mapping[str, Path], options: JobOptions, limits: Limits) -> JobInput:
    """Probe all files; raises InputError that begins with the option and the file."""
    with naming(_place("video", files["video"])):
        video = probe_video(files["video"], limits)
    audio, mix = (_probe_sound(name, files[name], limits) if name in files else None for name in ("audio", "audio_mix"))
    names = enumerate(voice_names(options.segments))
    voices = tuple(_probe_sound(voice_place(number), files[name], limits) for number, name in names)
    film_audio = None
    if needs_film_sound(options) and video.has_audio:
        with suppress(InputError):  # the clip then warns that the video's own sound is missing
            film_audio = probe_audio(files["video"], limits)
    return JobInput(video=video, audio=audio, audio_mix=mix, segments=voices, film_audio=film_audio)


def _probe_sound(name: str, path: Path, limits: Limits) -> AudioFacts:
    with naming(_place(name, path)):
        return probe_audio(path, limits)


def _place(name: str, path: Path) -> str:
    return f"{name} {shown(path)}"
