"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Return the folder of reference data and media, or skip where it is absent."""
    folder = Path(os.environ.get("LIPSYNC_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("reference media not present (set LIPSYNC_SHARED)")
    return folder
