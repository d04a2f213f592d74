"""The storage in a bucket of S3, or of a server with the same interface (MinIO, Ceph, Garage, R2).

The key of a file is PREFIX/jobs/ID/NAME. boto3 does the transfers: it moves several parts at once and repeats a part
that failed. An object appears when its last byte has arrived. An upload that a crash interrupted counts as a file of
its job, so it is removed with the job. Needs the extra `s3`. boto3 finds credentials and region as usual
(AWS_ACCESS_KEY_ID, a profile, a role).
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from s3transfer.exceptions import RetriesExceededError

from app.core.checks import Check, never_stop
from app.core.errors import CapacityError, ErrorCode, InputError
from app.core.locks import POLL_S, locked
from app.core.logs import OUTAGE
from app.core.settings import Settings
from app.core.storage.port import CHUNK_BYTES, StorageUnavailableError, check_id, check_name, is_id

PART_BYTES: Final = 16 * 1024**2
DEFAULT_REGION: Final = "us-east-1"  # a signature needs a region; self-hosted servers accept any
_TRANSFER: Final = TransferConfig(
    multipart_threshold=PART_BYTES,
    multipart_chunksize=PART_BYTES,
    max_concurrency=4,
    preferred_transfer_client="classic",  # transfers of the other client cannot be canceled
)
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchUpload", "404"})
_FULL: Final = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"})

_log = logging.getLogger("lipsync.storage")


class _Transfer(Protocol):
    """Running upload or download of boto3."""

    def done(self) -> bool: ...
    def result(self) -> object: ...


class _TransferManager(Protocol):
    """Transfer manager of boto3, which has no types."""

    def upload(self, fileobj: str, bucket: str, key: str) -> _Transfer: ...
    def download(self, bucket: str, key: str, fileobj: str) -> _Transfer: ...


def connect_objects(settings: Settings) -> ObjectStorage:
    """Return the storage that the setting `storage` names as s3://bucket/prefix, without connecting to it."""
    address = urlsplit(settings.storage or "")
    client = _client(settings.s3_endpoint_url)
    public_client = _client(settings.s3_public_url) if settings.s3_public_url else client
    return ObjectStorage(client, public_client, address.netloc, address.path.strip("/"))


def check_credentials() -> None:
    """Raise InputError(option_invalid) if boto3 finds no credentials; for a role it asks the machine itself."""
    missing = "no credentials for the bucket"
    try:
        if boto3.session.Session().get_credentials() is not None:
            return
    except BotoCoreError as error:  # a profile that does not exist, half of a pair
        missing = str(error).rstrip(".")
    names = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    raise InputError(ErrorCode.OPTION_INVALID, f"LIPSYNC_STORAGE: {missing}; {names}.")


def _client(endpoint_url: str | None) -> Any:
    session = boto3.session.Session()
    config = Config(
        signature_version="s3v4",
        # Self-hosted servers seldom have a host name for each bucket.
        s3={"addressing_style": "path" if endpoint_url else "auto"},
        connect_timeout=2,
        read_timeout=8,
        # Few, because callers wait for the answer; workers repeat the whole transfer for minutes.
        retries={"total_max_attempts": 2, "mode": "standard"},
        request_checksum_calculation="when_required",  # not every server knows the newer checksums
        response_checksum_validation="when_required",
    )
    region = session.region_name or DEFAULT_REGION
    return session.client("s3", endpoint_url=endpoint_url, region_name=region, config=config)


class ObjectStorage:
    """Files of all jobs in one bucket, which must exist.

    Both clients are boto3's, which has no types. `public_client` signs links, with the address that users reach.
    """

    def __init__(self, client: Any, public_client: Any, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._public_client = public_client
        self._bucket = bucket
        self._root = f"{prefix}/jobs/" if prefix else "jobs/"

    def put(self, job_id: str, name: str, path: Path, check: Check = never_stop) -> None:
        """Upload the file; it stays at `path`."""
        key = self._key(job_id, name)
        self._transfer(lambda manager: manager.upload(str(path), self._bucket, key), check)

    def fetch(self, job_id: str, name: str, folder: Path, check: Check = never_stop) -> Path:
        """Download the file to `folder`, only once even if several attempts fetch it at the same time."""
        key, copy = self._key(job_id, name), folder / name
        check()
        with locked(folder / f".{name}.lock", check):
            if not copy.exists():
                self._transfer(lambda manager: manager.download(self._bucket, key, str(copy)), check)
        return copy

    def read(self, job_id: str, name: str, start: int, end: int) -> Iterator[bytes]:
        """Return the bytes as they arrive; at most one chunk of CHUNK_BYTES is in memory."""
        with _port_errors():
            found = self._client.get_object(
                Bucket=self._bucket, Key=self._key(job_id, name), Range=f"bytes={start}-{end - 1}"
            )
        return _chunks(found["Body"])

    def link(self, job_id: str, name: str, filename: str, media_type: str, expires_s: int) -> str | None:
        """Return a presigned URL, valid for GET only; makes no request."""
        wanted = {
            "Bucket": self._bucket,
            "Key": self._key(job_id, name),
            "ResponseContentDisposition": f'attachment; filename="{filename}"',
            "ResponseContentType": media_type,
        }
        with _port_errors():
            return str(self._public_client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=expires_s))

    def upload_link(self, job_id: str, name: str, size_bytes: int, expires_s: int) -> str | None:
        """Return a presigned URL, valid for PUT only; the length is signed too. Makes no request."""
        wanted = {"Bucket": self._bucket, "Key": self._key(job_id, name), "ContentLength": size_bytes}
        with _port_errors():
            return str(self._public_client.generate_presigned_url("put_object", Params=wanted, ExpiresIn=expires_s))

    def size(self, job_id: str, name: str) -> int:
        """Return the size of the object."""
        with _port_errors():
            return int(self._client.head_object(Bucket=self._bucket, Key=self._key(job_id, name))["ContentLength"])

    def names(self, job_id: str) -> list[str]:
        """Return the sorted names of the complete objects."""
        folder = self._folder(job_id)
        return sorted(key.removeprefix(folder) for key, _ in self._objects(folder))

    def remove(self, job_id: str, name: str) -> None:
        """Remove an object; a missing object is no error."""
        self._remove(self._key(job_id, name))

    def delete(self, job_id: str) -> None:
        """Remove the objects of a job and its interrupted uploads.

        Objects are removed one by one, because not every server can remove several in one request.
        """
        folder = self._folder(job_id)
        for key, _ in self._objects(folder):
            self._remove(key)
        for upload in self._uploads(folder):
            with suppress(FileNotFoundError), _port_errors():  # another process may have aborted it first
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    def check_space(self, wanted_bytes: int) -> None:
        """Raise StorageUnavailableError if the bucket does not answer; its free space cannot be asked for."""
        try:
            with _port_errors():
                self._client.head_bucket(Bucket=self._bucket)
        except FileNotFoundError:
            raise StorageUnavailableError from None

    def idle_jobs(self, idle_s: float) -> Iterator[str]:
        """Yield the ids of idle jobs, judged by the times of their objects and interrupted uploads."""
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

    def _uploads(self, prefix: str) -> Iterator[dict[str, Any]]:
        with suppress(FileNotFoundError):  # some servers answer so if there are none
            for page in self._pages("list_multipart_uploads", prefix):
                yield from page.get("Uploads", [])

    def _pages(self, operation: str, prefix: str) -> Iterator[dict[str, Any]]:
        with _port_errors():
            yield from self._client.get_paginator(operation).paginate(Bucket=self._bucket, Prefix=prefix)

    def _remove(self, key: str) -> None:
        with _port_errors():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def _transfer(self, begin: Callable[[_TransferManager], _Transfer], check: Check) -> None:
        """Run a transfer to its end; if `check` raises, the transfer is canceled and leaves nothing."""
        with _port_errors(), create_transfer_manager(self._client, _TRANSFER) as manager:
            check()
            transfer, pause_s = begin(manager), 0.01
            while not transfer.done():
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, POLL_S)
                check()
            transfer.result()


def _chunks(body: Any) -> Iterator[bytes]:
    try:
        with _port_errors():
            yield from body.iter_chunks(CHUNK_BYTES)
    finally:
        body.close()


@contextmanager
def _port_errors() -> Iterator[None]:
    """Turn the errors of boto3 into those that `Storage` names."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _MISSING:
            raise FileNotFoundError(errno.ENOENT, "no such file of a job") from None
        if code in _FULL:
            raise CapacityError(ErrorCode.STORAGE_FULL, "The storage is full.", retry_after_s=60) from None
        _log.warning("storage refused code=%s", code, extra=OUTAGE)
        raise StorageUnavailableError from None
    except (BotoCoreError, RetriesExceededError) as error:
        _log.warning("storage unreachable error=%s", type(error).__name__, extra=OUTAGE)
        raise StorageUnavailableError from None
