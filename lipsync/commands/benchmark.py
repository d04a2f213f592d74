"""Command that measures speed and memory."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from lipsync.commands.errors import EXIT_REFUSED
from lipsync.commands.options import (
    FILE_TO_WRITE,
    check_can_be_written,
    grouped,
    load_settings,
    print_broken,
    write_json,
)

RESULTS: Final = Path("benchmarks", "results")
PARTS: Final = (
    "short_2s",
    "portrait_8s",
    "phone_20s",
    "one_minute",
    "ten_minutes",
    "second_voice",
    "generator",
    "service",
)


@dataclass(frozen=True)
class _BenchOptions:
    json_path: Path | None
    keep: bool
    clips: tuple[Path, ...]
    only: tuple[str, ...]
    profile: Path | None
    runs: int


@click.command()
@click.option("--json", "json_path", type=FILE_TO_WRITE, help="Write the figures here.")
@click.option("--keep", is_flag=True, help=f"Write them to a new file in {RESULTS}, too.")
@click.option(
    "--clip",
    "clips",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Measure this clip, driven by its own sound, instead of the standard ones; repeatable.",
)
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Measure only this part; repeatable.")
@click.option(
    "--profile",
    type=FILE_TO_WRITE,
    help="Write a flame graph (.svg) or a profile for speedscope (.json) of one more job with the first clip.",
)
@click.option("--runs", default=1, show_default=True, type=click.IntRange(1, 20), help="Medians over so many runs.")
@grouped(_BenchOptions)
def bench(options: _BenchOptions) -> None:
    """Measure speed and memory against a plain transcode; exit 1 if a promise about memory is broken.

    What fails is told at the end, with exit status 2; the other figures are shown and written all the same.
    """
    from lipsync.bench.figures import BenchPlan, broken_promises, measure_all
    from lipsync.bench.profile import check_profile
    from lipsync.bench.table import table

    for path in (options.json_path, options.profile, RESULTS / "x.json" if options.keep else None):
        if path is not None:
            check_can_be_written(path)
    if options.profile is not None:
        check_profile(options.profile)
    load_settings()
    figures = measure_all(BenchPlan(options.clips, options.runs, options.only, options.profile))
    click.echo(table(figures))
    if options.json_path is not None:
        write_json(options.json_path, figures, indent=2)
    if options.keep:
        path = RESULTS / _file_name(figures["machine"])
        write_json(path, figures, indent=2)
        click.echo(f"kept as {path}")
    broken = broken_promises(figures)
    failed = [failure["error"] for failure in figures["failed"]]
    print_broken([*broken, *failed])
    sys.exit(EXIT_REFUSED if failed else 1 if broken else 0)


def _file_name(machine: dict[str, Any]) -> str:
    """Return a name that says when, with which commit and on which processor was measured."""
    words = (machine["date"].replace(":", "")[:17], machine["commit"] or machine["versions"]["lipsync"], machine["cpu"])
    return "_".join(re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-") for word in words) + ".json"
