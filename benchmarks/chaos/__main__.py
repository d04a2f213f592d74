"""Break the service on purpose and see whether its promises hold: `python -m benchmarks.chaos`, or `make chaos`.

Prints tables and one closing line of figures; ends with status 1 where a promise broke.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.chaos.kills import run_kills
from benchmarks.chaos.report import Report

SCENARIOS = ("kills",)


@click.command()
@click.option("--only", multiple=True, type=click.Choice(SCENARIOS), help="Scenarios to run; all by default.")
@click.option("--jobs", default=200, show_default=True, help="Jobs that are done under kills.")
@click.option("--seed", default=1, show_default=True, help="Decides who is killed when.")
@click.option("--mean-s", default=3.0, show_default=True, help="Seconds between two kills, on average.")
@click.option("--keep", is_flag=True, help="Leave data and logs behind.")
def main(only: tuple[str, ...], jobs: int, seed: int, mean_s: float, keep: bool) -> None:
    """Kill workers, their children, ffmpeg, the API and Redis at random, and look what became of the jobs."""
    report = Report()
    scenarios: dict[str, Callable[[Path], None]] = {
        "kills": lambda folder: run_kills(folder, report, jobs, seed, mean_s),
    }
    for name in only or SCENARIOS:
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-"))
        report.note(f"--- {name} ({folder})")
        try:
            scenarios[name](folder)
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
    report.note(report.closing())
    sys.exit(1 if report.broken else 0)


if __name__ == "__main__":
    main()
