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
from lipsync.record_redis import record_redis, store_name
from tests.error_line import error_line
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
    listed = keys("list")
    assert (listed.stdout, listed.stderr) == ("", f"There is no key in the data folder {tmp_path}.\n")


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
    assert ended.exit_code == 2 and ended.stdout == "" and error_line(ended.stderr)


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


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"data_dir": "/srv/lipsync"}, "the data folder /srv/lipsync"),
        ({"redis_url": "redis://user:secret@keys.example/3"}, "the Redis at keys.example:6379, database 3"),
        ({"redis_url": "rediss://:secret@[::1]:7000"}, "the Redis at ::1:7000, database 0"),
        ({"redis_url": "unix://:secret@/run/redis.sock?db=2"}, "the Redis at /run/redis.sock, database 2"),
    ],
)
def test_the_store_has_a_name_without_a_password(settings, name):
    assert store_name(Settings(**settings)) == name


def test_only_create_makes_a_data_folder_and_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIPSYNC_DATA_DIR", raising=False)
    for arguments in (["list"], ["revoke", "x"], ["rotate", "x"], ["webhook-secret", "x"]):
        ended = CliRunner().invoke(main, ["keys", *arguments])
        assert ended.exit_code == 2 and f"There is no data folder {tmp_path / 'data'}." in ended.stderr
    assert not (tmp_path / "data").exists()
    for is_new in (True, False):
        told = CliRunner().invoke(main, ["keys", "create", "--name", "x"]).stderr
        assert f"The key is in the data folder {tmp_path / 'data'}" in told and ("which is new" in told) is is_new
