"""Print what an image has to install, one requirement per line, from pyproject.toml.

Dependencies go into an image layer of their own, before the code, so that a change of the code does not install them
again. Their versions come from constraints.txt.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path


def requirements(project: Path, extras: Sequence[str], groups: Sequence[str]) -> dict[str, str]:
    """Return the base requirements and those of the extras and dependency groups, by name in lower case.

    Raises KeyError if the project has no such extra or group.
    """
    content = tomllib.loads(project.read_text())
    lines = list(content["project"]["dependencies"])
    for extra in extras:
        lines += content["project"]["optional-dependencies"][extra]
    for group in groups:
        lines += content["dependency-groups"][group]
    return {distribution_name(line): line for line in lines}


def distribution_name(requirement: str) -> str:
    """Return the name that a requirement begins with, in lower case."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


def main() -> None:
    """Read the command line and write the lines to standard output."""
    parser = argparse.ArgumentParser(description="list the requirements of an image")
    parser.add_argument("extras", nargs="+")
    parser.add_argument("--group", nargs="+", default=[], metavar="NAME", help="dependency groups to add")
    parser.add_argument("--project", type=Path, default=Path("pyproject.toml"))
    parser.add_argument("--without", nargs="+", default=[], metavar="NAME", help="requirements to leave out")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="print only these requirements")
    chosen = parser.parse_args()
    wanted = requirements(chosen.project, chosen.extras, chosen.group)
    # A name that no longer exists must fail here: if it were ignored, the image would hold what it should not.
    if unknown := {*chosen.without, *chosen.only} - set(wanted):
        parser.error(f"not required by {' '.join(chosen.extras)}: {', '.join(sorted(unknown))}")
    names = chosen.only or [name for name in wanted if name not in chosen.without]
    sys.stdout.writelines(f"{wanted[name]}\n" for name in names)


if __name__ == "__main__":
    main()
