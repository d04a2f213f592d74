"""Check of the promises of the service under faults: `python -m tests.chaos`, or `make chaos`.

It prints tables and one last line of figures, and ends with status 1 if a promise is broken.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from tests.chaos.findings import Findings
from tests.chaos.hosts import run_hosts
from tests.chaos.kills import run_kills
from tests.chaos.long import run_long
from tests.chaos.outage import run_outage
from tests.chaos.pair import run_pair
from tests.chaos.webhooks import run_webhooks

SCENARIOS = ("kills", "webhooks", "outage", "hosts", "pair", "long")


@click.command()
@click.option("--only", multiple=True, type=click.Choice(SCENARIOS), help="Scenarios to run; all by default.")
@click.option("--jobs", default=200, show_default=True, help="kills, webhooks: number of jobs.")
@click.option(
    "--mean-s", default=3.0, show_default=True, help="kills, webhooks: seconds between two kills, on average."
)
@click.option("--pair-minutes", default=10, show_default=True, help="pair: length of the clip.")
@click.option("--long-minutes", default=60, show_default=True, help="long: length of the clip.")
@click.option("--seed", default=1, show_default=True, help="Decides who is killed when.")
@click.option("--keep", is_flag=True, help="Keep data and logs.")
def main(
    only: tuple[str, ...], jobs: int, mean_s: float, pair_minutes: int, long_minutes: int, seed: int, keep: bool
) -> None:
    """Kill, disconnect and overload a real service, and report what became of its jobs."""
    findings = Findings()
    scenarios: dict[str, Callable[[Path], None]] = {
        "kills": lambda folder: run_kills(folder, findings, jobs, seed, mean_s),
        "webhooks": lambda folder: run_webhooks(folder, findings, jobs, seed, mean_s),
        "outage": lambda folder: run_outage(folder, findings, seed),
        "hosts": lambda folder: run_hosts(folder, findings, seed),
        "pair": lambda folder: run_pair(folder, findings, seed, pair_minutes),
        "long": lambda folder: run_long(folder, findings, seed, long_minutes),
    }
    for name in only or SCENARIOS:
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-"))
        findings.note(f"--- {name}")
        try:
            scenarios[name](folder)
        finally:
            if keep:
                findings.note(f"data and logs are in {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
    findings.note(findings.last_line())
    sys.exit(1 if findings.broken else 0)


if __name__ == "__main__":
    main()
