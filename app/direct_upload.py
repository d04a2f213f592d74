"""Files that a client sent straight to the bucket: the address for one, and its copy for a form that names it.

The copy on this host is what is hashed, probed and stored as the file of the job: the client can still replace the
upload itself, as long as its address is valid.
"""

from __future__ import annotations

from pathlib import Path

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError, RequestError
from app.core.jobs import new_job_id
from app.core.options import option_error
from app.core.records.direct_uploads import LASTS_S, DirectUpload
from app.core.storage.port import UPLOAD, is_id
from app.services import Services


def begin_upload(services: Services, owner: str, size_bytes: int) -> tuple[DirectUpload, str]:
    """Return a new upload and the address to which its bytes are sent.

    Raises InputError(input_too_large), RequestError(upload_unavailable), CapacityError(concurrency_limited),
    `redis.RedisError`.
    """
    if size_bytes > services.direct_uploads.max_bytes:
        message = f"An upload can have {services.direct_uploads.max_bytes} bytes."
        raise InputError(ErrorCode.INPUT_TOO_LARGE, message)
    upload_id = new_job_id()
    url = services.storage.upload_link(upload_id, UPLOAD, size_bytes, LASTS_S)
    if url is None:
        message = "This service keeps its files in a folder, so it takes them only with the job itself."
        raise RequestError(ErrorCode.UPLOAD_UNAVAILABLE, message)
    return services.direct_uploads.begin(upload_id, owner, size_bytes), url


def own_upload(services: Services, owner: str, upload_id: str) -> DirectUpload | None:
    """Return an upload of this owner that has not expired, or None; may raise `redis.RedisError`."""
    upload = services.direct_uploads.get(upload_id) if is_id(upload_id) else None
    return upload if upload is not None and upload.owner == owner else None


def fetch_upload(services: Services, owner: str, upload_id: str, folder: Path, max_bytes: int, check: Check) -> Path:
    """Copy the file of an upload to a folder and return its path there.

    Raises InputError: option_invalid for an upload that is unknown, of somebody else, expired, or not complete;
    input_too_large.
    """
    upload = own_upload(services, owner, upload_id)
    if upload is None:
        raise option_error("There is no upload of this id, or it has expired.")
    try:
        size_bytes = services.storage.size(upload.id, UPLOAD)
    except FileNotFoundError:
        raise option_error("The bytes of the upload have not arrived; send them before the job.") from None
    if size_bytes != upload.size_bytes:
        raise option_error(f"The upload has {size_bytes} bytes, not {upload.size_bytes} as declared.")
    if size_bytes > max_bytes:
        raise InputError(ErrorCode.INPUT_TOO_LARGE, "The files are larger together than this service takes.")
    services.workspace.check_space(size_bytes)
    try:
        path = services.storage.fetch(upload.id, UPLOAD, folder, check)
    except FileNotFoundError:
        raise option_error("The upload was deleted meanwhile.") from None
    if path.stat().st_size != size_bytes:
        raise option_error("The upload changed while it was read.")
    return path
