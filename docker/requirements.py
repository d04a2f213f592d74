"""Print what an image has to install, one requirement a line, from pyproject.toml: the one place they are kept.

Dependencies go into a layer of their own, before the code, so that a changed line of code does not install them again.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path


def requirements(project: Path, extras: Sequence[str]) -> dict[str, str]:
    """Return the base requirements and those of the extras, by the distribution's name in lower case.

    Raises KeyError where the project has no such extra.
    """
    table = tomllib.loads(project.read_text())["project"]
    wanted = [*table["dependencies"], *(line for extra in extras for line in table["optional-dependencies"][extra])]
    return {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower(): line for line in wanted}


def main() -> None:
    """Read the command line and write the lines to standard output."""
    parser = argparse.ArgumentParser(description="list the requirements of an image")
    parser.add_argument("extras", nargs="+")
    parser.add_argument("--project", type=Path, default=Path("pyproject.toml"))
    parser.add_argument("--without", nargs="+", default=[], metavar="NAME", help="leave these out")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these and no others")
    chosen = parser.parse_args()
    wanted = requirements(chosen.project, chosen.extras)
    # A stale name would hide what an image really holds.
    if unknown := {*chosen.without, *chosen.only} - set(wanted):
        parser.error(f"not required by {' '.join(chosen.extras)}: {', '.join(sorted(unknown))}")
    names = chosen.only or [name for name in wanted if name not in chosen.without]
    sys.stdout.writelines(f"{wanted[name]}\n" for name in names)


if __name__ == "__main__":
    main()
