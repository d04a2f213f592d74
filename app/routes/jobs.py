"""Routes that create, check, list, poll, cancel, retry and delete jobs."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Final

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from app.caller import refused_key
from app.core.errors import ErrorCode, RequestError
from app.core.jobs import Job, JobStatus
from app.core.options import output_duration_s, output_size_px
from app.core.queue import send_find_faces, wait_for_faces
from app.core.records.records import Records
from app.core.sound_warnings import sound_warnings
from app.creation import IdempotencyKey, accepted
from app.dependencies import (
    ACCEPTING,
    MAY_READ,
    MAY_SUBMIT,
    CallerDep,
    OwnJobDep,
    PolledJobDep,
    RecordsDep,
    ServicesDep,
    StorageDep,
    may_listen,
    read_job,
    services_of,
)
from app.intake import Intake, received_upload, save_job, send_message
from app.listeners import until_client_leaves
from app.openapi import form_body, problems
from app.schemas import FaceView, JobPage, JobView, ValidationView
from app.services import Services

MAX_PAGE: Final = 100
MAX_WAIT_S: Final = 60
_FORM_PROBLEMS: Final = problems(408, 409, 413, 415, 422, 429, 503, 507)

router = APIRouter(tags=["jobs"])


def _views(records: Records, jobs: list[Job]) -> list[JobView]:
    positions = records.queue_positions(job.id for job in jobs if job.status is JobStatus.QUEUED)
    return [JobView.of(job, positions.get(job.id)) for job in jobs]


@router.post(
    "/jobs",
    status_code=202,
    response_model=JobView,
    summary="Create a job",
    responses=_FORM_PROBLEMS,
    openapi_extra=form_body(),
    dependencies=[MAY_SUBMIT, ACCEPTING],
)
async def create_job(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Receive a video and a voice, and answer with the queued job. `Location` is the path at which to poll it."""
    await run_in_threadpool(services.records.check_capacity, caller.owner, idempotency_key, caller.max_active)
    async with received_upload(request, services, caller) as intake:
        created = await run_in_threadpool(save_job, services, intake, caller, idempotency_key)
        view = await run_in_threadpool(_current_view, services.records, created.job_id)
    return accepted(view.model_dump(mode="json", by_alias=True), view.links.self_, replayed=created.replayed)


def _current_view(records: Records, job_id: str) -> JobView:
    job = records.get(job_id)
    if job is None:
        raise RequestError(ErrorCode.NOT_FOUND, "The job was deleted meanwhile.")
    return _views(records, [job])[0]


@router.post(
    "/jobs/validate",
    response_model=ValidationView,
    summary="Check files and options without creating a job",
    responses=problems(408, 413, 415, 422, 503, 507),
    openapi_extra=form_body(),
    dependencies=[MAY_SUBMIT, ACCEPTING],
)
async def validate(request: Request, services: ServicesDep, caller: CallerDep) -> ValidationView:
    """Do all checks of a new job, and find the people as a job does. The files are deleted afterwards."""
    async with received_upload(request, services, caller) as intake:
        faces = await anyio.to_thread.run_sync(_find_faces, services, intake, limiter=services.face_waits)
    warnings = sound_warnings(intake.input, intake.options)
    if faces is None:
        warnings.append("No worker was free to look for faces.")
    elif not faces:
        warnings.append("No face was found in the frames that were looked at.")
    work_s = await run_in_threadpool(_estimate_s, services, intake)
    return ValidationView(
        input=intake.input, options=intake.options, faces=faces, estimated_work_s=work_s, warnings=warnings
    )


def _estimate_s(services: Services, intake: Intake) -> float | None:
    video, options = intake.input.video, intake.options
    width, height = output_size_px(video.width, video.height, options)
    frames = round(output_duration_s(intake.input, options) * Fraction(video.fps))
    return services.speeds.estimate_s(width * height, max(1, frames))


def _find_faces(services: Services, intake: Intake) -> list[FaceView] | None:
    if not services.records.live_workers():
        return None
    intake.store(services)
    send_find_faces(services.celery, intake.job_id, intake.input, intake.options)
    faces = wait_for_faces(services.redis, intake.job_id)
    return None if faces is None else [FaceView.model_validate(face) for face in faces]


@router.get("/jobs", summary="List jobs", responses=problems(422, 503), dependencies=[MAY_READ])
def list_jobs(
    records: RecordsDep,
    caller: CallerDep,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    cursor: Annotated[
        str | None, Query(pattern=r"^[0-9]{1,16}$", description="The `next_cursor` of the page before.")
    ] = None,
) -> JobPage:
    """Return the caller's jobs, newest first."""
    jobs, following = records.page(caller.owner, status, limit, None if cursor is None else int(cursor))
    next_cursor = None if following is None else str(following)
    return JobPage(jobs=_views(records, jobs), next_cursor=next_cursor)


@router.get("/jobs/{job_id}", response_model=JobView, summary="Poll a job", responses=problems(404, 422, 503))
async def get_job(
    request: Request,
    placed: PolledJobDep,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=MAX_WAIT_S,
            allow_inf_nan=False,
            description=(
                "Hold the answer back until status, stage or progress changes, for at most this many seconds."
            ),
        ),
    ] = 0,
) -> Response:
    """Return the job as it is now; with `wait`, after its next change. A job that has ended is returned at once."""
    if wait > 0 and not placed.job.status.is_terminal:
        services = services_of(request)
        with until_client_leaves(request):
            await services.listeners.wait(placed.job.id, placed.job.last_event, wait, may_listen(request))
        if not await may_listen(request)():
            raise refused_key()
        placed = await read_job(services.reader, placed.job.id)
    # Written here once: as a model, FastAPI would check it again and write it in two steps.
    body = JobView.of(placed.job, placed.place).model_dump_json(by_alias=True)
    return Response(body, media_type="application/json")


@router.post(
    "/jobs/{job_id}/cancel",
    status_code=202,
    summary="Cancel a job",
    responses=problems(404, 422, 503),
    dependencies=[MAY_SUBMIT],
)
def cancel_job(job: OwnJobDep, records: RecordsDep) -> JobView:
    """Cancel a waiting job at once and a running job within seconds. A job that has ended does not change."""
    records.cancel(job.id)
    return _current_view(records, job.id)


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    summary="Retry a job",
    responses=problems(404, 409, 410, 422, 429, 503),
    dependencies=[MAY_SUBMIT, ACCEPTING],
)
def retry_job(job: OwnJobDep, services: ServicesDep, caller: CallerDep) -> JobView:
    """Queue a failed or canceled job again, with the same id, inputs and options. The count of attempts goes on.

    Only this call changes a job that has ended. The limits on new jobs hold for a retry too. 410 means that the inputs
    have expired.
    """
    # The limit is that of the job's owner; who administers the jobs of others has only the service's.
    services.records.retry(job.id, caller.max_active if caller.owner == job.owner else None)
    send_message(services, job.id)
    return _current_view(services.records, job.id)


@router.delete(
    "/jobs/{job_id}",
    status_code=204,
    summary="Delete a job",
    responses=problems(404, 422, 503),
    dependencies=[MAY_SUBMIT],
)
def delete_job(job: OwnJobDep, records: RecordsDep, storage: StorageDep, services: ServicesDep) -> Response:
    """Delete the job, its inputs and its result. A running job is stopped."""
    storage.delete(job.id)  # before the record, so that the call can be repeated if it fails here
    records.delete(job.id)
    storage.delete(job.id)  # again, for files that its worker stored meanwhile
    services.cache.forget(job.id)
    return Response(status_code=204)
