"""Routes that send the finished MP4, and links to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.core.errors import ErrorCode, RequestError
from app.core.jobs import Job, JobStatus, ResultFacts, now
from app.core.storage.port import Storage, result_name
from app.dependencies import MAY_READ, OwnJobDep, ServicesDep, StorageDep, read_job
from app.link_signer import MAX_S
from app.openapi import problems
from app.ranges import Served, serve
from app.schemas import LinkView

MEDIA_TYPE: Final = "video/mp4"
_MP4: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The MP4.", "content": {MEDIA_TYPE: {}}},
    206: {"description": "The part of the MP4 that `Range` asked for.", "content": {MEDIA_TYPE: {}}},
    304: {"description": "The caller has this MP4: `If-None-Match` names it."},
}

router = APIRouter(tags=["jobs"])


def _ready_result(job: Job) -> ResultFacts:
    """Return the facts of the result; raises RequestError if there is none yet, or none any more."""
    if job.status is JobStatus.CANCELED:
        raise RequestError(ErrorCode.CANCELED, "The job was canceled and has no result.")
    if job.status is JobStatus.FAILED:
        message, hint = "The job failed and has no result; its `error` says why.", "Read the `error` of the job."
        raise RequestError(ErrorCode.RESULT_NOT_READY, message, retryable=False, hint=hint)
    if job.result is None:
        raise RequestError(ErrorCode.RESULT_NOT_READY, f"The job is still {job.status}.")
    if job.expires_at <= now():
        raise RequestError(ErrorCode.RESULT_EXPIRED, "The result has expired.")
    return job.result


def _filename(job: Job) -> str:
    return f"lipsync-{job.id[:8]}.mp4"


def _send(job: Job, storage: Storage, request: Request) -> Response:
    result = _ready_result(job)
    name = result_name(job.attempt)
    served = Served(result.bytes, f'"{result.sha256}"', _filename(job), MEDIA_TYPE)
    try:
        return serve(request, served, lambda start, end: storage.read(job.id, name, start, end))
    except FileNotFoundError:
        raise RequestError(ErrorCode.RESULT_EXPIRED, "The result is gone.") from None


@router.get(
    "/jobs/{job_id}/result",
    summary="Download the result",
    response_class=Response,
    responses={**_MP4, **problems(404, 409, 410, 412, 416, 422, 503)},
    dependencies=[MAY_READ],
)
def get_result(job: OwnJobDep, storage: StorageDep, request: Request) -> Response:
    """Send the MP4, or the part of it that `Range` asks for."""
    return _send(job, storage, request)


@router.get(
    "/jobs/{job_id}/result/link",
    summary="Get a link to the result",
    responses=problems(404, 409, 410, 422, 503),
    dependencies=[MAY_READ],
)
def get_result_link(
    job: OwnJobDep,
    services: ServicesDep,
    request: Request,
    expires_s: Annotated[int, Query(ge=1, le=MAX_S, description="For how many seconds the link works.")] = 3600,
) -> LinkView:
    """Return an address of the MP4 that works without an API key until it expires."""
    _ready_result(job)
    left_s = max(1, min(expires_s, int((job.expires_at - now()).total_seconds())))
    expires_at = int(now().timestamp()) + left_s
    url = services.storage.link(job.id, result_name(job.attempt), _filename(job), MEDIA_TYPE, left_s)
    if url is None:
        query = {"expires": expires_at, "signature": services.links.sign(job.id, expires_at)}
        address = request.url_for("get_linked_result", job_id=job.id).include_query_params(**query)
        public = services.settings.public_url
        url = str(address) if public is None else f"{public}{address.path}?{address.query}"
    return LinkView(url=url, expires_at=datetime.fromtimestamp(expires_at, UTC))


@router.get(
    "/links/{job_id}",
    summary="Download by a link",
    response_class=Response,
    responses={**_MP4, **problems(404, 409, 410, 412, 416, 422, 503)},
)
async def get_linked_result(
    services: ServicesDep,
    request: Request,
    job_id: Annotated[str, Path(max_length=200)],
    expires: Annotated[int, Query(ge=0, lt=2**40)],
    signature: Annotated[
        str, Query(pattern="^[A-Za-z0-9_-]{1,100}$", description="The signature, as the link has it.")
    ],
) -> Response:
    """Send the MP4 of a link. The link itself is the permission; no API key is needed."""
    await run_in_threadpool(services.links.check, job_id, expires, signature)
    placed = await read_job(services.reader, job_id)
    return await run_in_threadpool(_send, placed.job, services.storage, request)
