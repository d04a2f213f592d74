"""Hand out the finished MP4."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.core.errors import ErrorCode, RequestError
from app.core.jobs import Job, JobStatus, ResultFacts, now
from app.core.storage import Storage, result_name
from app.dependencies import OwnJobDep, StorageDep
from app.openapi import problems
from app.ranges import Served, serve

router = APIRouter(tags=["jobs"])


def _ready_result(job: Job) -> ResultFacts:
    """Return what the result is; raises RequestError where there is none (any more)."""
    if job.status is JobStatus.CANCELED:
        raise RequestError(ErrorCode.CANCELED, "The job was canceled and has no result.")
    if job.status is JobStatus.FAILED:
        raise RequestError(ErrorCode.RESULT_NOT_READY, "The job failed and has no result; its `error` says why.")
    if job.result is None:
        raise RequestError(ErrorCode.RESULT_NOT_READY, f"The job is still {job.status}.")
    if job.expires_at <= now():
        raise RequestError(ErrorCode.RESULT_EXPIRED, "The result was kept until it expired.")
    return job.result


def _send(job: Job, storage: Storage, request: Request) -> Response:
    result = _ready_result(job)
    name = result_name(job.attempt)
    served = Served(result.bytes, f'"{result.sha256}"', f"lipsync-{job.id[:8]}.mp4", "video/mp4")
    try:
        return serve(request, served, lambda start, end: storage.read(job.id, name, start, end))
    except FileNotFoundError:
        raise RequestError(ErrorCode.RESULT_EXPIRED, "The result is gone.") from None


@router.head("/jobs/{job_id}/result", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/result", summary="Download the result", response_class=Response,
    responses={
        200: {"description": "The MP4.", "content": {"video/mp4": {}}},
        206: {"description": "The part that `Range` asked for.", "content": {"video/mp4": {}}},
        **problems(404, 409, 410, 416, 422, 503),
    },
)
def get_result(job: OwnJobDep, storage: StorageDep, request: Request) -> Response:
    """Send the MP4, or the part of it that `Range` asks for."""
    return _send(job, storage, request)
