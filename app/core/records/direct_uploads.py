"""Uploads that go straight to the bucket: who may use which, and until when. The bytes never pass the service.

An upload belongs to one owner, who can name it in any number of jobs until it expires; then the sweeper removes its
file. A file that arrives later still, or whose record was lost, has no record, and the sweeper removes it as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

import redis

from app.core.errors import CapacityError, ErrorCode
from app.core.records.keys import Key
from app.core.records.lua import Scripts

LASTS_S: Final = 3600
MOST: Final = 1000  # uploads of one owner at a time
MOST_BYTES: Final = 5 * 1024**3  # of one upload: S3 takes no more in one request
LARGEST_SHARE: Final = 10  # all uploads of an owner may have so many times the bytes of the largest form


@dataclass(frozen=True)
class DirectUpload:
    """An upload; size_bytes is what its owner declared."""

    id: str
    owner: str
    size_bytes: int
    expires_at: datetime


class DirectUploads:
    """Uploads in Redis; every method may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis, max_upload_bytes: int) -> None:
        """Take files of at most `max_upload_bytes` bytes."""
        self._redis = client
        self._scripts = Scripts(client)
        self._max_upload_bytes = max_upload_bytes

    @property
    def max_bytes(self) -> int:
        """Return the size of the largest file in bytes."""
        return min(self._max_upload_bytes, MOST_BYTES)

    def begin(self, upload_id: str, owner: str, size_bytes: int) -> DirectUpload:
        """Save a new upload; raises CapacityError(concurrency_limited) if its owner has too many or too large ones."""
        expires_at_ms = self._scripts.number(
            "begin_upload",
            upload_id=upload_id,
            owner=owner,
            bytes=size_bytes,
            lasts_ms=LASTS_S * 1000,
            most=MOST,
            most_bytes=LARGEST_SHARE * self._max_upload_bytes,
        )
        if not expires_at_ms:
            message = "You have too many uploads, or too many bytes in them; delete some, or wait until they expire."
            hint = "Delete uploads that you no longer need."
            raise CapacityError(ErrorCode.CONCURRENCY_LIMITED, message, retry_after_s=60, hint=hint)
        return DirectUpload(upload_id, owner, size_bytes, datetime.fromtimestamp(expires_at_ms / 1000, UTC))

    def get(self, upload_id: str) -> DirectUpload | None:
        """Return an upload that has not expired, or None."""
        fields = cast("dict[str, str]", self._redis.hgetall(Key.UPLOAD + upload_id))
        if not fields:
            return None
        expires_at = datetime.fromtimestamp(int(fields["expires_at"]) / 1000, UTC)
        return DirectUpload(upload_id, fields["owner"], int(fields["bytes"]), expires_at)

    def forget(self, upload: DirectUpload) -> None:
        """Forget an upload; a file that arrives at its address later is removed when the address has expired."""
        pipeline = self._redis.pipeline()
        pipeline.delete(Key.UPLOAD + upload.id)
        pipeline.zrem(Key.UPLOADS_OF + upload.owner, upload.id)
        pipeline.execute()
