"""The storage that is a bucket of S3 or of anything that speaks like it (MinIO, Ceph, Garage, R2).

A file is the object PREFIX/jobs/ID/NAME. Transfers are those of boto3: in parts, several at once, each tried again;
an object appears when its last byte has arrived. What a crash leaves of an upload in parts counts as a file of its job,
so it goes with it. Needs the extra `s3`; credentials and region are found the library's own ways (AWS_ACCESS_KEY_ID,
a profile, a role).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from s3transfer.exceptions import RetriesExceededError

from app.core.checks import Check, never_stop
from app.core.errors import CapacityError, ErrorCode
from app.core.settings import Settings
from app.core.storage.port import CHUNK_BYTES, StorageUnavailableError, check_id, check_name, is_id

POLL_S: Final = 0.2
PART_BYTES: Final = 16 * 1024**2
DEFAULT_REGION: Final = "us-east-1"  # servers of one's own take any; a signature needs one
_TRANSFER: Final = TransferConfig(
    multipart_threshold=PART_BYTES,
    multipart_chunksize=PART_BYTES,
    max_concurrency=4,
    preferred_transfer_client="classic",
)  # the other one cannot be canceled
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchUpload", "404"})
_FULL: Final = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"})

_log = logging.getLogger("lipsync.storage")


def connect_objects(settings: Settings) -> ObjectStorage:
    """Return the storage that `storage` names as s3://bucket/prefix; connects to nothing yet."""
    address = urlsplit(settings.storage or "")
    client = _client(settings.s3_endpoint_url)
    public_client = _client(settings.s3_public_url) if settings.s3_public_url else client
    return ObjectStorage(client, public_client, address.netloc, address.path.strip("/"))


def _client(endpoint_url: str | None) -> Any:
    session = boto3.session.Session()
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint_url else "auto"},  # others' servers seldom have a name a bucket
        connect_timeout=2,
        read_timeout=8,
        retries={"total_max_attempts": 2, "mode": "standard"},  # callers wait; workers try again for minutes
        request_checksum_calculation="when_required",  # not all servers know the newer checksums
        response_checksum_validation="when_required",
    )
    region = session.region_name or DEFAULT_REGION
    return session.client("s3", endpoint_url=endpoint_url, region_name=region, config=config)


class ObjectStorage:
    """Keep the files of jobs in a bucket that exists; clients are boto3's, the public one signs the links."""

    def __init__(self, client: Any, public_client: Any, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._public_client = public_client
        self._bucket = bucket
        self._root = f"{prefix}/jobs/" if prefix else "jobs/"

    def put(self, job_id: str, name: str, path: Path, check: Check = never_stop) -> None:
        """Upload the file."""
        key = self._key(job_id, name)
        self._transfer(lambda manager: manager.upload(str(path), self._bucket, key), check)

    def fetch(self, job_id: str, name: str, folder: Path, check: Check = never_stop) -> Path:
        """Download the file into the folder, once for all who ask at the same time."""
        key, copy = self._key(job_id, name), folder / name
        check()
        with _turn(folder / f".{name}.lock", check):
            if not copy.exists():
                self._transfer(lambda manager: manager.download(self._bucket, key, str(copy)), check)
        return copy

    def read(self, job_id: str, name: str, start: int, end: int) -> Iterator[bytes]:
        """Return the bytes as they arrive, never more than a chunk of them in memory."""
        with _translated():
            found = self._client.get_object(
                Bucket=self._bucket, Key=self._key(job_id, name), Range=f"bytes={start}-{end - 1}"
            )
        return _chunks(found["Body"])

    def link(self, job_id: str, name: str, filename: str, media_type: str, expires_s: int) -> str | None:
        """Return a presigned URL, for GET only; nothing is asked for it."""
        wanted = {
            "Bucket": self._bucket,
            "Key": self._key(job_id, name),
            "ResponseContentDisposition": f'attachment; filename="{filename}"',
            "ResponseContentType": media_type,
        }
        with _translated():
            return str(self._public_client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=expires_s))

    def names(self, job_id: str) -> list[str]:
        """Return the names of complete objects."""
        folder = self._folder(job_id)
        return sorted(key.removeprefix(folder) for key, _ in self._objects(folder))

    def remove(self, job_id: str, name: str) -> None:
        """Remove an object."""
        self._remove(self._key(job_id, name))

    def delete(self, job_id: str) -> None:
        """Remove the objects of a job one by one, which every server understands, and uploads that broke off."""
        folder = self._folder(job_id)
        for key, _ in self._objects(folder):
            self._remove(key)
        for upload in self._uploads(folder):
            with suppress(FileNotFoundError), _translated():  # another may have been quicker
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    def check_space(self, wanted_bytes: int) -> None:
        """Raise where the bucket does not answer; how much fits, it only says when it is full."""
        try:
            with _translated():
                self._client.head_bucket(Bucket=self._bucket)
        except FileNotFoundError:
            raise StorageUnavailableError from None

    def idle_jobs(self, idle_s: float) -> Iterator[str]:
        """Yield ids by the times of their objects and of uploads that broke off."""
        written: dict[str, datetime] = {}
        times = [*self._objects(self._root), *((up["Key"], up["Initiated"]) for up in self._uploads(self._root))]
        for key, at in times:
            job_id = key.removeprefix(self._root).partition("/")[0]
            written[job_id] = max(at, written.get(job_id, at))
        now = datetime.now(UTC)
        yield from (job_id for job_id, at in written.items() if is_id(job_id) and (now - at).total_seconds() > idle_s)

    def _folder(self, job_id: str) -> str:
        return f"{self._root}{check_id(job_id)}/"

    def _key(self, job_id: str, name: str) -> str:
        return self._folder(job_id) + check_name(name)

    def _objects(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        for page in self._pages("list_objects_v2", prefix):
            for found in page.get("Contents", []):
                yield found["Key"], found["LastModified"]

    def _uploads(self, prefix: str) -> Iterator[Any]:
        with suppress(FileNotFoundError):  # some servers' way to say that there are none
            for page in self._pages("list_multipart_uploads", prefix):
                yield from page.get("Uploads", [])

    def _pages(self, operation: str, prefix: str) -> Iterator[Any]:
        with _translated():
            yield from self._client.get_paginator(operation).paginate(Bucket=self._bucket, Prefix=prefix)

    def _remove(self, key: str) -> None:
        with _translated():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def _transfer(self, begin: Callable[[Any], Any], check: Check) -> None:
        """Wait for a transfer; where the check raises, the transfer is canceled and leaves nothing."""
        with _translated(), create_transfer_manager(self._client, _TRANSFER) as manager:
            check()
            transfer, pause_s = begin(manager), 0.01
            while not transfer.done():
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, POLL_S)
                check()
            transfer.result()


def _chunks(body: Any) -> Iterator[bytes]:
    try:
        with _translated():
            yield from body.iter_chunks(CHUNK_BYTES)
    finally:
        body.close()


@contextmanager
def _turn(path: Path, check: Check) -> Iterator[None]:
    """Hold the lock file at the path alone."""
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                check()
                time.sleep(POLL_S)
        yield


@contextmanager
def _translated() -> Iterator[None]:
    """Say what the library raises in the words of the port."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _MISSING:
            raise FileNotFoundError(errno.ENOENT, "no such file of a job") from None
        if code in _FULL:
            raise CapacityError(ErrorCode.STORAGE_FULL, "The storage is full.", retry_after_s=60) from None
        _log.warning("storage refused code=%s", code)
        raise StorageUnavailableError from None
    except (BotoCoreError, RetriesExceededError) as error:
        _log.warning("storage unreachable error=%s", type(error).__name__)
        raise StorageUnavailableError from None
