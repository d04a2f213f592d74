"""What a process loads: the front end no torch, the worker's parent neither torch nor the front end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("app.main", ["torch", "worker", "model", "mediapipe", "boto3"]),
        ("worker.main", ["torch", "fastapi", "mediapipe", "boto3"]),
        ("lipsync", ["torch", "fastapi", "celery", "redis"]),
    ],
)
def test_importing_loads_only_its_own(module, forbidden):
    code = f"import sys, {module}; print([name for name in {forbidden} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
