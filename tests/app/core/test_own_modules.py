from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.own_modules import ROOT, with_own_modules
from lipsync.supervisor import COMMANDS


@pytest.mark.parametrize(
    ("before", "path"),
    [({}, str(ROOT)), ({"PYTHONPATH": ""}, str(ROOT)), ({"PYTHONPATH": "/a:/b"}, f"{ROOT}{os.pathsep}/a:/b")],
)
def test_our_packages_come_first(before: dict[str, str], path: str) -> None:
    assert with_own_modules({"A": "1"} | before) == {"A": "1", "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def test_a_part_of_the_service_takes_no_module_from_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('not ours')\n")
    command = [*COMMANDS["worker"], "--help"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}

    def started(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120, check=False
        )

    assert started(with_own_modules(environment)).stdout.startswith("Usage: ")
    assert "not ours" in started(environment | {"PYTHONPATH": str(ROOT)}).stderr  # the file would be found
    assert command[0] == sys.executable
