"""`lipsync keys` with a Redis of its own, started for each command."""

from __future__ import annotations

import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.core.access.key_store import KeyStore
from app.core.locks import sole_use
from app.core.private_redis import publish_socket
from app.core.settings import Settings
from lipsync.__main__ import main
from lipsync.record_redis import record_redis
from tests.service import running_redis


@pytest.fixture
def keys(tmp_path):
    def run(*arguments):
        return CliRunner(env={"LIPSYNC_DATA_DIR": str(tmp_path)}).invoke(main, ["keys", *arguments])

    return run


def test_a_key_is_made_listed_rotated_and_revoked(keys, tmp_path):
    made = keys("create", "--name", "Team A", "--scopes", "read", "--rate-per-min", "9")
    token = made.stdout.strip()
    assert made.exit_code == 0 and token.startswith("lsk_")
    key_id = token.split("_")[1]
    listed = keys("list").stdout
    assert key_id in listed and "read" in listed and "9 calls/min" in listed and token not in listed
    rotated = keys("rotate", key_id, "--overlap-s", "0").stdout.strip()
    with record_redis(Settings(data_dir=tmp_path)) as client:
        store = KeyStore(client)
        assert store.find(rotated) is not None and store.find(token) is None
    assert keys("revoke", key_id).exit_code == 0
    assert keys("list").stdout == ""


def test_a_service_that_starts_is_waited_for(keys, tmp_path):
    with sole_use(tmp_path), ThreadPoolExecutor(1) as pool:
        ended = pool.submit(keys, "list")
        with pytest.raises(TimeoutError):
            ended.result(0.3)
        folder = tmp_path / "redis"
        folder.mkdir()
        with running_redis(folder) as url:
            publish_socket(tmp_path, Path(url.removeprefix("unix://")))
            assert ended.result(20).exit_code == 0


def test_the_socket_of_a_killed_service_is_no_service(keys, tmp_path):
    with tempfile.TemporaryDirectory(prefix="ls-") as folder:
        left = Path(folder, "redis.sock")
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(left))
        publish_socket(tmp_path, left)
        assert left.exists() and keys("create", "--name", "x").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--name", "x", "--scopes", "write"),
        ("create", "--name", ""),
        ("create", "--name", "x", "--rate-per-min", "0"),
        ("create", "--name", "x", "--webhook-url", "ftp://team.example/"),
        ("webhook-secret", "nobody"),
        ("revoke", "nobody"),
        ("rotate", "nobody"),
    ],
)
def test_refusals_are_one_line(keys, arguments):
    ended = keys(*arguments)
    assert ended.exit_code == 2 and ended.stdout == ""
    assert ended.stderr.startswith("error: ") and len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("url", ["ftp://team.example/", "http://10.0.0.1/hook", "https://localhost/", "nothing"])
def test_a_webhook_that_can_never_be_called_is_refused(keys, url):
    ended = keys("create", "--name", "x", "--webhook-url", url)
    assert ended.exit_code == 2 and ended.stderr.startswith("error: url_blocked: --webhook-url: The ")


def test_the_webhook_secret_of_a_key_stays_until_it_is_renewed(keys):
    made = keys("create", "--name", "Team A", "--webhook-url", "https://team.example/hook").stdout.strip()
    key_id = made.split("_")[1]
    first = keys("webhook-secret", key_id).stdout
    assert first.startswith("whsec_") and keys("webhook-secret", key_id).stdout == first
    second = keys("webhook-secret", key_id, "--new").stdout
    assert second.startswith("whsec_") and second != first
    assert keys("webhook-secret", key_id).stdout == second
