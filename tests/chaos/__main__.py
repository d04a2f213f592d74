"""Break the service on purpose and see whether its promises hold: `python -m tests.chaos`, or `make chaos`.

Prints tables and one closing line of figures; ends with status 1 where a promise broke.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from tests.chaos.hosts import run_hosts
from tests.chaos.kills import run_kills
from tests.chaos.long import run_long
from tests.chaos.outage import run_outage
from tests.chaos.pair import run_pair
from tests.chaos.report import Report

SCENARIOS = ("kills", "outage", "hosts", "pair", "long")


@click.command()
@click.option("--only", multiple=True, type=click.Choice(SCENARIOS), help="Scenarios to run; all by default.")
@click.option("--jobs", default=200, show_default=True, help="kills: how many jobs are done.")
@click.option("--mean-s", default=3.0, show_default=True, help="kills: seconds between two kills, on average.")
@click.option("--pair-minutes", default=10, show_default=True, help="pair: length of the clip.")
@click.option("--long-minutes", default=60, show_default=True, help="long: length of the clip.")
@click.option("--seed", default=1, show_default=True, help="Decides who is killed when.")
@click.option("--keep", is_flag=True, help="Leave data and logs behind.")
def main(
    only: tuple[str, ...], jobs: int, mean_s: float, pair_minutes: int, long_minutes: int, seed: int, keep: bool
) -> None:
    """Kill, cut off and overload a real service, and look what became of its jobs."""
    report = Report()
    scenarios: dict[str, Callable[[Path], None]] = {
        "kills": lambda folder: run_kills(folder, report, jobs, seed, mean_s),
        "outage": lambda folder: run_outage(folder, report, seed),
        "hosts": lambda folder: run_hosts(folder, report, seed),
        "pair": lambda folder: run_pair(folder, report, seed, pair_minutes),
        "long": lambda folder: run_long(folder, report, seed, long_minutes),
    }
    for name in only or SCENARIOS:
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-"))
        report.note(f"--- {name}")
        try:
            scenarios[name](folder)
        finally:
            if keep:
                report.note(f"data and logs are in {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
    report.note(report.closing())
    sys.exit(1 if report.broken else 0)


if __name__ == "__main__":
    main()
