"""One clip through the pipeline in this process: no server, no queue, the same code."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from app.core.jobs import JobInput
from app.core.options import check_options_fit, option_error, options_from_text
from app.core.probing.probe import Limits, probe_audio, probe_video
from app.core.settings import Settings
from worker.loaded_network import load, verify
from worker.pipeline.render import Outcome, Sources, run


class ProgressBar:
    """Show a run on the terminal; Ctrl-C ends it by itself, so there is nothing to check."""

    def __enter__(self) -> ProgressBar:
        self._bar = tqdm(unit="frame")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def stage(self, name: str) -> None:
        """Show what is being done."""
        self._bar.set_description(name)

    def frames(self, done: int, total: int) -> None:
        """Show how many frames are done."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def check(self) -> None:
        """Go on."""


def sync_clip(
    settings: Settings,
    video: Path,
    audio: Path,
    audio_mix: Path | None,
    output: Path,
    options: Mapping[str, str | None],
) -> Outcome:
    """Lip-sync `video` to `audio` into the MP4 `output`; options as text, None where not given.

    Raises LipSyncError with the code that the service would give.
    """
    chosen = options_from_text({name: text for name, text in options.items() if text is not None})
    limits = Limits.of(settings)
    mix = None if audio_mix is None else probe_audio(audio_mix, limits)
    facts = JobInput(video=probe_video(video, limits), audio=probe_audio(audio, limits), audio_mix=mix)
    check_options_fit(chosen, facts)
    if not output.parent.is_dir():
        raise option_error(f"output: the folder {output.parent} does not exist.")
    verify(settings)
    synthesizer = load(settings)
    with tempfile.TemporaryDirectory(prefix="lipsync-") as folder, ProgressBar() as bar:
        sources = Sources(video=video, audio=audio, audio_mix=audio_mix, input=facts)
        return run(sources, chosen, synthesizer, output, Path(folder), bar, settings.ffmpeg)
