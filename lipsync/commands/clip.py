"""Command that lip-syncs one clip in this process, through the same pipeline as the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lipsync.commands.options import (
    FILE,
    FILE_TO_WRITE,
    check_has_voice,
    job_options,
    load_settings_with,
    log_line,
    read_segments,
)


@click.command()
@click.option("--video", required=True, type=FILE, help="A video or a still image.")
@click.option("--audio", type=FILE, help="The voice, or a video with sound; needed without --segments.")
@click.option("--audio-mix", type=FILE, help="Sound of the output instead of the voice.")
@click.option("--output", required=True, type=FILE_TO_WRITE, help="The MP4 to write; its name ends in .mp4 or .m4v.")
@click.option("--checkpoint", type=FILE, help="Generator weights; else LIPSYNC_CHECKPOINT's.")
@job_options(served=False)
def sync(
    video: Path,
    audio: Path | None,
    audio_mix: Path | None,
    output: Path,
    checkpoint: Path | None,
    **options: Any,
) -> None:
    """Lip-sync one clip here, without a server."""
    from app.core.output_path import shown
    from worker.one_clip import ClipFiles, sync_clip

    segments: Path | None = options.pop("segments")
    check_has_voice(audio, segments)
    options["segments"], voices = read_segments(segments)
    files = ClipFiles(video, audio, audio_mix, voices)
    outcome = sync_clip(load_settings_with(checkpoint), files, output, options)
    for warning in outcome.warnings:
        log_line(f"warning: {warning}")
    result, report = outcome.result, outcome.report
    click.echo(
        f"{shown(output)}: {result.frames} frames, {result.duration_s:.2f} s, {result.width}x{result.height}, face in "
        f"{report.face_coverage:.0%} of them, {report.realtime_factor:.2f} s of work per second of video"
    )
