"""Lip-sync one clip in this process: the pipeline of the service, without server and queue."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from app.core.jobs import JobInput
from app.core.options import check_options_fit, options_from_text
from app.core.output_path import checked_output, ending_on_signals
from app.core.probing.probe import Limits, probe_audio, probe_video
from app.core.settings import Settings
from worker.faces.detect import DetectorPool
from worker.loaded_network import load_generator, verify_checkpoint
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


def sync_clip(
    settings: Settings,
    video: Path,
    audio: Path,
    audio_mix: Path | None,
    output: Path,
    options: Mapping[str, str | None],
) -> FinishedClip:
    """Lip-sync `video` to `audio` into the MP4 `output`; options are texts, None if not given.

    Raises LipSyncError with the same code as the service. On SIGTERM and SIGHUP no part of the output is left.
    """
    chosen = options_from_text({name: text for name, text in options.items() if text is not None})
    output = checked_output(output, [path for path in (video, audio, audio_mix) if path is not None])
    limits = Limits.of(settings)
    mix = None if audio_mix is None else probe_audio(audio_mix, limits)
    facts = JobInput(video=probe_video(video, limits), audio=probe_audio(audio, limits), audio_mix=mix)
    check_options_fit(chosen, facts)
    verify_checkpoint(settings)
    synthesizer = load_generator(settings)
    with tempfile.TemporaryDirectory(prefix="lipsync-") as folder, ProgressBar() as bar, DetectorPool() as detectors:
        sources = Sources(video=video, audio=audio, audio_mix=audio_mix, input=facts)
        context = RunContext(sources, chosen, synthesizer, Path(folder), bar, detectors, settings.ffmpeg)
        with ending_on_signals():
            return run(context, output)
