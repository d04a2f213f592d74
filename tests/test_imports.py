"""Packages that a process must not load, so that it starts quickly and stays small."""

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
        ("lipsync.__main__", ["torch", "fastapi", "celery", "redis", "httpx", "model", "worker"]),
    ],
)
def test_importing_loads_only_its_own(module, forbidden):
    code = f"import sys, {module}; print([name for name in {forbidden} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
