"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.s3 import CREDENTIALS, S3Server

ROOT = Path(__file__).resolve().parents[1]
# Measuring the runtimes takes seconds, once for each data folder. Tests of the choice ask for it by name.
os.environ.setdefault("LIPSYNC_RUNTIME", "torch")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Return the folder of reference data and media, or skip where it is absent."""
    folder = Path(os.environ.get("LIPSYNC_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("reference media not present (set LIPSYNC_SHARED)")
    return folder


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """Return an S3 server, with the credentials for it in the environment."""
    with pytest.MonkeyPatch.context() as environment, S3Server(tmp_path_factory.mktemp("s3")) as server:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield server
