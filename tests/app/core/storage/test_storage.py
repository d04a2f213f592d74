"""Tests that every kind of storage must pass, and tests of the folder."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from app.core.errors import CapacityError
from app.core.settings import Settings
from app.core.storage.folder import FolderStorage
from app.core.storage.open import open_storage
from app.core.storage.port import StorageUnavailableError, keep_result, result_name
from lipsync.supervisor import free_port
from tests.conftest import ROOT
from tests.service import put

ID, OTHER = "0123456789abcdef" * 2, "f" * 32
CONTENT = bytes(range(256)) * 5000  # several chunks
SIZE = len(CONTENT)


class StopError(Exception):
    pass


def stop():
    raise StopError


@pytest.fixture(params=["folder", "s3"])
def storage(request, tmp_path):
    if request.param == "s3":
        server = request.getfixturevalue("s3")
        return open_storage(Settings(**server.settings(f"{tmp_path.name}/files")))
    (tmp_path / "storage" / "jobs").mkdir(parents=True)  # without this folder it counts as new or not mounted
    return FolderStorage(tmp_path / "storage", reserve_bytes=0)


@pytest.fixture(params=["folder", "bucket", "server", "credentials"])
def unavailable(request, tmp_path):
    if request.param == "folder":
        return FolderStorage(tmp_path / "unmounted")
    server = request.getfixturevalue("s3")
    if request.param == "server":
        return open_storage(
            Settings(storage="s3://bucket", s3_endpoint_url=f"http://127.0.0.1:{free_port('127.0.0.1')}")
        )
    if request.param == "bucket":
        return open_storage(Settings(storage="s3://other", s3_endpoint_url=server.url))
    environment = request.getfixturevalue("monkeypatch")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    return open_storage(Settings(**server.settings("x")))


def content(storage, job_id, name, start=0, end=SIZE):
    return b"".join(storage.read(job_id, name, start, end))


@pytest.mark.parametrize("job_id", ["", "..", "../" + ID, ID + "/..", ID.upper(), ID + "\n", "a" * 31])
def test_only_an_id_names_a_job(storage, tmp_path, job_id):
    for use in (
        storage.names,
        storage.delete,
        lambda text: storage.remove(text, "video"),
        lambda text: storage.fetch(text, "video", tmp_path),
        lambda text: storage.read(text, "video", 0, 1),
        lambda text: put(storage, text, "video", b"x"),
    ):
        with pytest.raises(ValueError, match="id"):
            use(job_id)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "UPPER", "a b", "a" * 65, "a\n"])
def test_only_a_name_names_a_file(storage, tmp_path, name):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    for use in (
        lambda: storage.remove(ID, name),
        lambda: storage.fetch(ID, name, tmp_path),
        lambda: storage.read(ID, name, 0, 1),
        lambda: storage.put(ID, name, path),
    ):
        with pytest.raises(ValueError, match="name"):
            use()


def test_a_stored_file_can_be_fetched_and_read(storage, tmp_path):
    put(storage, ID, "video", CONTENT)
    put(storage, ID, result_name(2), b"mp4")
    put(storage, OTHER, "video", b"other")
    assert storage.names(ID) == ["result-2.mp4", "video"] and storage.names(OTHER) == ["video"]
    assert storage.fetch(ID, "video", tmp_path).read_bytes() == CONTENT
    assert storage.fetch(ID, "video", tmp_path).read_bytes() == CONTENT, "and again, wherever the first copy lies"
    assert content(storage, OTHER, "video") == b"other"


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, SIZE), (1000, 900_000), (SIZE - 1, SIZE)])
def test_a_part_is_read(storage, start, end):
    put(storage, ID, "video", CONTENT)
    assert content(storage, ID, "video", start, end) == CONTENT[start:end]


def test_a_file_replaces_one_of_the_same_name_and_can_be_empty(storage):
    put(storage, ID, "video", b"first")
    put(storage, ID, "video", b"second")
    assert content(storage, ID, "video") == b"second"
    put(storage, ID, "audio", b"")
    assert storage.names(ID) == ["audio", "video"]


def test_a_missing_file_is_an_error(storage, tmp_path):
    put(storage, ID, "video", b"x")
    for job_id, name in ((ID, "audio"), (OTHER, "video")):
        with pytest.raises(FileNotFoundError):
            storage.fetch(job_id, name, tmp_path)
        with pytest.raises(FileNotFoundError):
            storage.read(job_id, name, 0, 1)
    assert storage.names(OTHER) == []


def test_removing_may_be_repeated(storage):
    put(storage, ID, "video", b"x")
    put(storage, ID, "audio", b"x")
    put(storage, OTHER, "video", b"x")
    for _ in range(2):
        storage.remove(ID, "video")
        assert storage.names(ID) == ["audio"]
    for _ in range(2):
        storage.delete(ID)
        assert storage.names(ID) == []
    assert storage.names(OTHER) == ["video"]


def test_a_job_with_its_result_needs_no_pieces(storage):
    for name in ("video", "audio", "voice-0", "plan-1.npz", "segment-0-1.mp4", result_name(1), result_name(2)):
        put(storage, ID, name, b"x")
    keep_result(storage, ID, 2)
    assert storage.names(ID) == ["audio", result_name(2), "video", "voice-0"]


def test_a_put_that_is_stopped_leaves_nothing(storage, tmp_path):
    path = tmp_path / "video"
    path.write_bytes(CONTENT)
    with pytest.raises(StopError):
        storage.put(ID, "video", path, stop)
    assert storage.names(ID) == [] and path.read_bytes() == CONTENT
    put(storage, ID, "audio", CONTENT)
    with pytest.raises(StopError):
        storage.fetch(ID, "audio", tmp_path, stop)
    assert storage.fetch(ID, "audio", tmp_path).read_bytes() == CONTENT


def test_idle_jobs_are_those_nothing_was_written_to(storage):
    put(storage, ID, "video", b"x")
    time.sleep(0.05)
    assert list(storage.idle_jobs(50)) == []
    assert list(storage.idle_jobs(-50)) == [ID]
    storage.delete(ID)
    assert list(storage.idle_jobs(-50)) == []


def test_from_another_disk_a_file_is_copied(tmp_path):
    (tmp_path / "storage").mkdir()
    storage = FolderStorage(tmp_path / "storage")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other_disk:
        path = Path(other_disk, "video")
        path.write_bytes(CONTENT)
        if path.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second disk here")
        checks = iter([None, None])
        with pytest.raises(StopIteration):
            storage.put(ID, "video", path, lambda: next(checks))
        assert [found.name for found in (tmp_path / "storage" / "jobs" / ID).iterdir()] == []
        storage.put(ID, "video", path)
    assert content(storage, ID, "video") == CONTENT


def test_a_file_that_is_deleted_while_it_is_read_is_read_to_its_end(tmp_path):
    (tmp_path / "storage").mkdir()
    storage = FolderStorage(tmp_path / "storage")
    put(storage, ID, "video", CONTENT)
    chunks = storage.read(ID, "video", 0, SIZE)
    first = next(chunks)
    storage.delete(ID)
    assert first + b"".join(chunks) == CONTENT


def test_folders_are_private(tmp_path):
    (tmp_path / "storage").mkdir()
    put(FolderStorage(tmp_path / "storage"), ID, "video", b"x")
    assert (tmp_path / "storage" / "jobs" / ID).stat().st_mode & 0o777 == 0o700


def test_space(tmp_path):
    FolderStorage(tmp_path, reserve_bytes=0).check_space(1000)
    with pytest.raises(CapacityError, match="storage_full"):
        FolderStorage(tmp_path, reserve_bytes=0).check_space(10**18)
    with pytest.raises(CapacityError, match="storage_full"):
        FolderStorage(tmp_path, reserve_bytes=10**18).check_space(0)


@pytest.mark.parametrize("setting", ["unset", "folder"])
def test_the_setting_names_the_folder(tmp_path, setting):
    named = {} if setting == "unset" else {"storage": str(tmp_path / "mount")}
    (tmp_path / "mount").mkdir()
    put(open_storage(Settings(data_dir=tmp_path, **named)), ID, "video", b"x")
    assert (tmp_path / ("" if setting == "unset" else "mount") / "jobs" / ID / "video").is_file()


def test_an_unavailable_storage_is_an_error(unavailable, tmp_path):
    with pytest.raises(StorageUnavailableError, match="storage does not answer"):
        unavailable.check_space(0)
    with pytest.raises(StorageUnavailableError):
        put(unavailable, ID, "video", b"x")


def test_an_unmounted_folder_is_unavailable_and_loses_no_file(tmp_path):
    (tmp_path / "mounted").mkdir()
    storage = FolderStorage(tmp_path / "mounted")
    put(storage, ID, "video", CONTENT)
    uses = (
        lambda: storage.fetch(ID, "video", tmp_path),
        lambda: storage.read(ID, "video", 0, 1),
        lambda: storage.names(ID),
        lambda: storage.remove(ID, "video"),
        lambda: storage.delete(ID),
    )
    (tmp_path / "mounted").rename(tmp_path / "unmounted")
    for made in (False, True):  # missing, or an empty mount point
        if made:
            (tmp_path / "mounted").mkdir()
        for use in uses:
            with pytest.raises(StorageUnavailableError):
                use()
    (tmp_path / "mounted").rmdir()
    (tmp_path / "unmounted").rename(tmp_path / "mounted")
    assert storage.names(ID) == ["video"] and content(storage, ID, "video") == CONTENT


def test_a_bucket_without_its_library_is_an_error():
    code = (
        "import sys; sys.modules['boto3'] = None\n"
        "from app.core.settings import Settings; from app.core.storage.open import open_storage\n"
        "open_storage(Settings(storage='s3://bucket'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "LIPSYNC_STORAGE names a bucket: install the extra `s3`." in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("setting", ["bucket", "s3:/bucket", "s3://", "s3://a", "http://host/x", "s3://bucket/x y", ""])
def test_a_wrong_storage_setting_is_refused(setting):
    with pytest.raises(ValueError, match="storage"):
        Settings(storage=setting)
