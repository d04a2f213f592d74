"""Routes for files that go straight to the bucket, before a job names them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.core.errors import ErrorCode, RequestError
from app.dependencies import ACCEPTING, MAY_SUBMIT, CallerDep, ServicesDep
from app.direct_upload import begin_upload, own_upload
from app.openapi import problems
from app.schemas import UploadRequest, UploadView

router = APIRouter(tags=["uploads"])


@router.post(
    "/uploads",
    status_code=201,
    summary="Get an address to upload a file to",
    responses=problems(400, 409, 413, 422, 429, 503),
    dependencies=[MAY_SUBMIT, ACCEPTING],
)
def create_upload(services: ServicesDep, caller: CallerDep, wanted: UploadRequest) -> UploadView:
    """Return an address in the bucket of this service for one file of exactly `bytes` bytes.

    Send the bytes there with `method` and `headers`, and no key of this service. Then name the id as `video_upload`,
    `audio_upload` or `audio_mix_upload` of jobs, until it expires. 409 `upload_unavailable`: this service has no
    bucket; send the file with the job.
    """
    upload, url = begin_upload(services, caller.owner, wanted.bytes)
    headers = {"Content-Length": str(upload.size_bytes)}
    return UploadView(id=upload.id, url=url, headers=headers, expires_at=upload.expires_at, max_bytes=upload.size_bytes)


@router.delete(
    "/uploads/{upload_id}",
    status_code=204,
    summary="Delete an upload",
    responses=problems(404, 422, 503),
    dependencies=[MAY_SUBMIT],
)
def delete_upload(
    services: ServicesDep, caller: CallerDep, upload_id: Annotated[str, Path(max_length=200)]
) -> Response:
    """Delete an upload and its file; jobs that were created with it keep theirs."""
    upload = own_upload(services, caller.owner, upload_id)
    if upload is None:
        raise RequestError(ErrorCode.NOT_FOUND, "There is no such upload.")
    services.storage.delete(upload.id)
    services.direct_uploads.forget(upload)
    return Response(status_code=204)
