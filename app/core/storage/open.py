"""The choice of the storage: the only module that knows both implementations. The cache is always on this host."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from app.core.errors import ErrorCode, ServiceError
from app.core.settings import Settings
from app.core.storage.cache import FOLDER, Cache
from app.core.storage.folder import FolderStorage
from app.core.storage.port import Storage


def is_bucket(settings: Settings) -> bool:
    """Return whether the settings name a bucket, to which clients can send files themselves."""
    return settings.storage is not None and settings.storage.startswith("s3://")


def open_storage(settings: Settings) -> Storage:
    """Return the storage that the settings name, without connecting to it.

    Raises ServiceError if the settings name a bucket and the library for it is not installed.
    """
    if is_bucket(settings):
        storage: Storage = _bucket_module().connect_objects(settings)
        return storage
    return FolderStorage(settings.data_dir if settings.storage is None else Path(settings.storage))


def check_credentials(settings: Settings) -> None:
    """Raise InputError if the settings name a bucket and this process has no credentials; asks no bucket.

    Raises ServiceError as `open_storage` does.
    """
    if is_bucket(settings):
        _bucket_module().check_credentials()


def _bucket_module() -> ModuleType:
    """Return `app.core.storage.bucket`, which needs an extra."""
    try:
        from app.core.storage import bucket
    except ModuleNotFoundError:
        raise ServiceError(ErrorCode.INTERNAL, "LIPSYNC_STORAGE names a bucket: install the extra `s3`.") from None
    return bucket


def open_cache(settings: Settings) -> Cache:
    """Return the cache of this host."""
    return Cache(settings.data_dir / FOLDER, settings.cache_bytes)
