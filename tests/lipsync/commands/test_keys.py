"""`lipsync keys` with a Redis of its own, started for each command."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.core.access.key_store import KeyStore
from app.core.settings import Settings
from lipsync.record_redis import record_redis


@pytest.fixture
def keys(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "lipsync", "keys", *arguments]
        environment = {"LIPSYNC_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=60)

    return run


def test_a_key_is_made_listed_rotated_and_revoked(keys, tmp_path):
    made = keys("create", "--name", "Team A", "--scopes", "read", "--rate-per-min", "9")
    token = made.stdout.strip()
    assert made.returncode == 0 and token.startswith("lsk_")
    key_id = token.split("_")[1]
    listed = keys("list").stdout
    assert key_id in listed and "read" in listed and "9 calls/min" in listed and token not in listed
    rotated = keys("rotate", key_id, "--overlap-s", "0").stdout.strip()
    with record_redis(Settings(data_dir=tmp_path)) as client:
        store = KeyStore(client)
        assert store.find(rotated) is not None and store.find(token) is None
    assert keys("revoke", key_id).returncode == 0
    assert keys("list").stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--name", "x", "--scopes", "write"),
        ("create", "--name", ""),
        ("create", "--name", "x", "--rate-per-min", "0"),
        ("revoke", "nobody"),
        ("rotate", "nobody"),
    ],
)
def test_refusals_are_one_line(keys, arguments):
    ended = keys(*arguments)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("error: ") and len(ended.stderr.splitlines()) == 1
