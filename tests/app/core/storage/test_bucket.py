"""Tests of the bucket: large files in parts, interrupted uploads, links, a server that stops."""

from __future__ import annotations

import gc
import threading
import tracemalloc

import boto3
import httpx
import pytest
from botocore.stub import Stubber

from app.core.errors import CapacityError
from app.core.settings import Settings
from app.core.storage.bucket import PART_BYTES, ObjectStorage
from app.core.storage.open import open_storage
from app.core.storage.port import CHUNK_BYTES, StorageUnavailableError
from tests.s3 import BUCKET, S3Server
from tests.service import put

ID = "0123456789abcdef" * 2
LARGE = bytes(range(251)) * (2 * PART_BYTES // 251 + 7)


@pytest.fixture
def storage(s3, tmp_path):
    return open_storage(Settings(**s3.settings(tmp_path.name)))


@pytest.fixture
def client(s3):
    return boto3.client("s3", endpoint_url=s3.url)


def stop_after(count):
    left = iter(range(count))

    def check():
        if next(left, None) is None:
            raise InterruptedError

    return check


def test_a_large_file_is_sent_in_parts_and_a_stopped_upload_leaves_none(storage, client, tmp_path):
    path = tmp_path / "video"
    path.write_bytes(LARGE)
    with pytest.raises(InterruptedError):
        storage.put(ID, "audio", path, stop_after(2))
    assert storage.names(ID) == []
    assert not client.list_multipart_uploads(Bucket=BUCKET, Prefix=tmp_path.name).get("Uploads")
    storage.put(ID, "video", path)
    copies = tmp_path / "copies"
    copies.mkdir()
    assert storage.fetch(ID, "video", copies).read_bytes() == LARGE
    start = PART_BYTES - 3
    assert b"".join(storage.read(ID, "video", start, start + 10)) == LARGE[start : start + 10]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # boto3 leaves its socket to the
def test_a_stopped_download_leaves_nothing(storage, tmp_path):  # garbage collector
    put(storage, ID, "video", LARGE)
    with pytest.raises(InterruptedError):
        storage.fetch(ID, "video", tmp_path, stop_after(2))
    assert [path.name for path in tmp_path.iterdir()] == [".video.lock"]
    gc.collect()


def test_an_interrupted_upload_counts_as_a_file_of_its_job(storage, client, tmp_path):
    key = f"{tmp_path.name}/jobs/{ID}/result-1.mp4"
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 5 * 1024**2)
    assert storage.names(ID) == [] and list(storage.idle_jobs(-60)) == [ID] and list(storage.idle_jobs(60)) == []
    storage.delete(ID)
    assert list(storage.idle_jobs(-60)) == []
    assert not client.list_multipart_uploads(Bucket=BUCKET, Prefix=tmp_path.name).get("Uploads")


def test_reading_holds_no_more_than_a_few_chunks(storage):
    put(storage, ID, "video", LARGE)
    tracemalloc.start()
    try:
        assert sum(len(chunk) for chunk in storage.read(ID, "video", 0, len(LARGE))) == len(LARGE)
        assert tracemalloc.get_traced_memory()[1] < 4 * CHUNK_BYTES
    finally:
        tracemalloc.stop()


def test_nothing_else_in_the_bucket_is_touched(storage, client, tmp_path):
    others = [f"{tmp_path.name}/jobs/notes.txt", f"{tmp_path.name}/other/{ID}/video"]
    for key in others:
        client.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    put(storage, ID, "video", b"x")
    assert list(storage.idle_jobs(-60)) == [ID]
    storage.delete(ID)
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=tmp_path.name)["Contents"]
    assert [entry["Key"] for entry in found] == others


def test_fetches_at_the_same_time_share_one_copy(storage, tmp_path):
    put(storage, ID, "video", LARGE)
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(storage.fetch(ID, "video", tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(paths) == {tmp_path / "video"} and (tmp_path / "video").read_bytes() == LARGE


def test_a_link_serves_anyone_until_it_expires_and_cannot_be_changed(storage, s3, tmp_path):
    put(storage, ID, "result-1.mp4", b"mp4")
    url = storage.link(ID, "result-1.mp4", "lipsync-01234567.mp4", "video/mp4", 60)
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, b"mp4")
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'attachment; filename="lipsync-01234567.mp4"'
    assert httpx.get(url, headers={"Range": "bytes=1-1"}).content == b"p"
    assert httpx.get(url.replace("Signature=", "Signature=0")).status_code == 403
    assert httpx.get(url.replace("result-1", "result-2")).status_code == 403
    gone = storage.link(ID, "result-1.mp4", "x.mp4", "video/mp4", -1)
    assert httpx.get(gone).status_code in (400, 403)
    public = open_storage(Settings(**s3.settings(tmp_path.name), s3_public_url="https://files.example"))
    link = public.link(ID, "result-1.mp4", "x.mp4", "video/mp4", 60)
    assert link is not None and link.startswith("https://files.example/lipsync/")


def test_an_upload_link_takes_one_file_of_the_signed_length(storage, s3, tmp_path):
    url = storage.upload_link(ID, "upload", 10, 60)
    for content in (b"a" * 9, b"a" * 11, (part for part in (b"aaaaa", b"aaaaa"))):
        assert httpx.put(url, content=content).status_code == 403
    assert httpx.put(url.replace("upload?", "video?"), content=b"a" * 10).status_code == 403
    with pytest.raises(FileNotFoundError):
        storage.size(ID, "upload")
    assert httpx.put(url, content=b"b" * 10).status_code == 200
    assert storage.size(ID, "upload") == 10 and storage.names(ID) == ["upload"]
    assert httpx.get(url).status_code == 403
    assert httpx.put(storage.upload_link(ID, "upload", 10, -1), content=b"a" * 10).status_code in (400, 403)
    public = open_storage(Settings(**s3.settings(tmp_path.name), s3_public_url="https://files.example"))
    link = public.upload_link(ID, "upload", 10, 60)
    assert link is not None and link.startswith("https://files.example/lipsync/")


def test_a_server_that_stops_is_unavailable_until_it_is_back(s3, tmp_path):
    with S3Server(tmp_path / "own") as server:
        storage = open_storage(Settings(**server.settings("x")))
        put(storage, ID, "video", b"moving")
        server.kill()
        for use in (
            lambda: storage.check_space(0),
            lambda: put(storage, ID, "audio", b"x"),
            lambda: storage.fetch(ID, "video", tmp_path),
            lambda: storage.read(ID, "video", 0, 1),
            lambda: storage.names(ID),
            lambda: storage.size(ID, "video"),
            lambda: storage.remove(ID, "video"),
            lambda: storage.delete(ID),
            lambda: list(storage.idle_jobs(0)),
        ):
            with pytest.raises(StorageUnavailableError):
                use()
        server.start()
        assert storage.fetch(ID, "video", tmp_path).read_bytes() == b"moving"


REFUSALS = [
    ("NoSuchKey", 404, FileNotFoundError),
    ("QuotaExceeded", 403, CapacityError),
    ("XMinioStorageFull", 507, CapacityError),
    ("NoSuchBucket", 404, StorageUnavailableError),
    ("AccessDenied", 403, StorageUnavailableError),
    ("ServiceUnavailable", 503, StorageUnavailableError),
]


@pytest.mark.parametrize(("code", "status", "meaning"), REFUSALS)
def test_a_refusal_becomes_an_error_of_the_port(client, code, status, meaning):
    with Stubber(client) as server:
        server.add_client_error("get_object", code, http_status_code=status)
        with pytest.raises(meaning):
            ObjectStorage(client, client, BUCKET).read(ID, "video", 0, 1)
