"""Command that measures speed and memory."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lipsync.commands.errors import EXIT_REFUSED
from lipsync.commands.options import FILE_TO_WRITE, check_can_be_written, load_settings, print_broken, write_json


@click.command()
@click.option("--json", "json_path", type=FILE_TO_WRITE, help="Write the figures here.")
@click.option(
    "--clip",
    "clips",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Measure this clip, driven by its own sound, instead of the standard ones; repeatable.",
)
@click.option("--runs", default=1, show_default=True, type=click.IntRange(1, 20), help="Medians over so many runs.")
def bench(json_path: Path | None, clips: tuple[Path, ...], runs: int) -> None:
    """Measure speed and memory against a plain transcode; exit 1 if a promise about memory is broken.

    What fails is told at the end, with exit status 2; the other figures are shown and written all the same.
    """
    from lipsync.bench.figures import broken_promises, measure_all, table

    if json_path is not None:
        check_can_be_written(json_path)
    load_settings()
    figures = measure_all(clips, runs)
    click.echo(table(figures))
    if json_path is not None:
        write_json(json_path, figures, indent=2)
    broken = broken_promises(figures)
    failed = [failure["error"] for failure in figures["failed"]]
    print_broken([*broken, *failed])
    sys.exit(EXIT_REFUSED if failed else 1 if broken else 0)
