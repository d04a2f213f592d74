"""Hostile media and requests: `python -m tests.fuzz`, or `make fuzz`.

Most mutated files go straight to the children that open files; some hundreds go through a real service, and so do
mutated requests. The last line has the figures; a broken promise makes the exit status 1. A case has a name,
SEED/NUMBER/BASE, and `--only NUMBER` runs it again.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click

from tests.chaos.findings import Findings
from tests.conftest import ROOT
from tests.fuzz.bases import make_bases
from tests.fuzz.direct import run_direct
from tests.fuzz.through_service import run_through_service

SERVICE_SHARE = 0.25  # of the cases: half of them files, half of them requests


@click.command()
@click.option("--cases", default=2000, show_default=True, help="Mutated files and requests.")
@click.option("--seed", default=1, show_default=True, help="Decides the mutations.")
@click.option("--only", multiple=True, type=int, help="Run only the file with this number.")
@click.option("--part", type=click.Choice(["all", "direct", "service"]), default="all", help="Run only a part.")
def main(cases: int, seed: int, only: tuple[int, ...], part: str) -> None:
    """Send mutated files and requests, and report what became of them."""
    findings = Findings()
    shared = Path(os.environ.get("LIPSYNC_SHARED", ROOT.parent / "shared"))
    through_service = round(cases * SERVICE_SHARE / 2)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        (folder / "bases").mkdir()
        bases = make_bases(folder / "bases", shared if shared.is_dir() else None)
        if only or part != "service":
            run_direct(folder, findings, bases, seed, only or range(cases - 2 * through_service))
        if not only and part != "direct":
            run_through_service(folder, findings, bases, seed, through_service)
    findings.note(f"fuzz with seed {seed}: {findings.last_line()}")
    sys.exit(1 if findings.broken else 0)


if __name__ == "__main__":
    main()
