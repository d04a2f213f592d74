from __future__ import annotations

import os
import stat
import subprocess
from contextlib import contextmanager

import pytest

from app.core.errors import InputError
from app.core.private_redis import redis_command
from app.core.settings import Settings
from app.core.start_checks import check_data_dir, check_ffmpeg, check_redis_login, check_storage
from tests.service import wait_until


def make_file(path):
    path.write_bytes(b"")
    return path


def data_dirs(folder):
    """Yield what each wrong data folder is, and its path."""
    yield "a file", make_file(folder / "file")
    yield "below a file", folder / "file" / "data"
    yield "a device", "/dev/null"
    yield "a file system without files", "/proc/data"
    parent = folder / "used"
    parent.mkdir()
    make_file(parent / "incoming")
    yield "a folder whose parts are files", parent
    loop = folder / "loop"
    loop.symlink_to(loop)
    yield "a loop of links", loop
    yield "a name that is too long", folder / ("x" * 300)


def test_data_folders_that_cannot_be_used(tmp_path):
    for kind, path in data_dirs(tmp_path):
        with pytest.raises(InputError, match=r"option_invalid.*LIPSYNC_DATA_DIR"):
            print(kind, check_data_dir(Settings(data_dir=path)))


def test_a_data_folder_is_checked_and_not_made(tmp_path):
    assert check_data_dir(Settings(data_dir=tmp_path / "a" / "b"))
    assert list(tmp_path.iterdir()) == []


def program(folder, text):
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 0", "is not ffmpeg"),
        ("echo ffmpeg version 7; exit 1", "is not ffmpeg"),
        ("echo ffprobe version 7", "is not ffmpeg"),
        ("printf '\\377\\376'", "is not ffmpeg"),
        ("echo ffmpeg version 7", "lacks the encoder libx264, aac"),
        ("echo 'ffmpeg version 7'; echo ' V..... libx264 H.264'", "lacks the encoder aac"),
    ],
)
def test_programs_that_are_no_ffmpeg_for_us(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        check_ffmpeg(Settings(ffmpeg=program(tmp_path, text)))


@pytest.mark.parametrize("name", ["none", "/", "/etc/passwd", ""])
def test_paths_that_are_no_program(name):
    with pytest.raises(InputError, match="LIPSYNC_FFMPEG"):
        check_ffmpeg(Settings(ffmpeg=name))


def test_a_file_that_the_system_cannot_run(tmp_path):
    path = make_file(tmp_path / "ffmpeg")
    path.write_bytes(b"\x7fELF nothing")
    path.chmod(stat.S_IRWXU)
    with pytest.raises(InputError, match="is not ffmpeg"):
        check_ffmpeg(Settings(ffmpeg=str(path)))


def test_the_usual_ffmpeg():
    assert check_ffmpeg(Settings()).startswith("ffmpeg version")


@contextmanager
def redis_with_password(folder, password):
    unix_socket = folder / "r.sock"
    process = subprocess.Popen([*redis_command(folder, unix_socket), "--requirepass", password])
    try:
        wait_until(unix_socket.exists, 10)
        yield f"unix://{{}}@{unix_socket}"
    finally:
        process.terminate()
        process.wait(60)


def test_a_redis_that_refuses_the_login(tmp_path_factory):
    with redis_with_password(tmp_path_factory.mktemp("r"), "secret") as url:
        for login in ("", ":wrong", "nobody:secret"):
            with pytest.raises(InputError, match="refuses this user or password") as refusal:
                check_redis_login(Settings(redis_url=url.format(login)))
            assert "secret" not in str(refusal.value)
        with pytest.raises(InputError, match="no database of this number"):
            check_redis_login(Settings(redis_url=url.format(":secret") + "?db=4000"))
        assert check_redis_login(Settings(redis_url=url.format(":secret"))) == "answers"


@pytest.mark.parametrize("url", ["unix:///nowhere/r.sock", "redis://127.0.0.1:9"])
def test_a_redis_that_is_away_is_waited_for(url):
    assert check_redis_login(Settings(redis_url=url)) == "does not answer now"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "no credentials for the bucket; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"),
        ({"AWS_ACCESS_KEY_ID": "x"}, "Partial credentials found in env"),
        ({"AWS_PROFILE": "nobody"}, r"profile \(nobody\) could not be found"),
        ({"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}, None),
    ],
)
def test_a_bucket_needs_credentials(environment, said, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    nothing = str(tmp_path / "nothing")  # no file of this user, no service of this machine
    nowhere = {"AWS_CONFIG_FILE": nothing, "AWS_SHARED_CREDENTIALS_FILE": nothing, "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in (nowhere | environment).items():
        monkeypatch.setenv(name, value)
    settings = Settings(storage="s3://bucket/prefix", s3_endpoint_url="http://127.0.0.1:9")
    if said is None:
        assert check_storage(settings) == "s3://bucket/prefix"
        return
    with pytest.raises(InputError, match=said):
        check_storage(settings)
