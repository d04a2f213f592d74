"""Routes that create, show and cancel a batch: up to 500 jobs at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from app.batch_intake import received_batch, save_batch
from app.caller import Caller
from app.core.errors import ErrorCode, RequestError
from app.core.records.batches import Batch, Batches
from app.core.storage.port import is_id
from app.creation import IdempotencyKey, accepted
from app.dependencies import ACCEPTING, MAY_READ, MAY_SUBMIT, CallerDep, ServicesDep
from app.openapi import batch_body, problems
from app.schemas import BatchView

router = APIRouter(tags=["batches"])


def _find(batches: Batches, batch_id: str, caller: Caller) -> Batch:
    batch = batches.get(batch_id) if is_id(batch_id) else None
    if batch is None or not caller.owns(batch.owner):
        raise RequestError(ErrorCode.NOT_FOUND, "There is no such batch.")
    return batch


@router.post(
    "/batches",
    status_code=202,
    response_model=BatchView,
    summary="Create many jobs at once",
    responses=problems(408, 409, 413, 415, 422, 429, 503, 507),
    openapi_extra=batch_body(),
    dependencies=[MAY_SUBMIT, ACCEPTING],
)
async def create_batch(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Receive files and a list of jobs that name them; create all jobs, or none if one of them is refused."""
    await run_in_threadpool(services.records.check_capacity, caller.owner, idempotency_key, caller.max_active)
    async with received_batch(request, services, caller) as received:
        created = await run_in_threadpool(save_batch, services, received, caller, idempotency_key)
        batch = await run_in_threadpool(_find, services.batches, created.job_id, caller)
    body = BatchView.of(batch).model_dump(mode="json")
    return accepted(body, f"/batches/{batch.id}", replayed=created.replayed)


@router.get("/batches/{batch_id}", summary="Poll a batch", responses=problems(404, 422, 503), dependencies=[MAY_READ])
def get_batch(services: ServicesDep, caller: CallerDep, batch_id: Annotated[str, Path(max_length=200)]) -> BatchView:
    """Return the jobs of the batch with their states."""
    return BatchView.of(_find(services.batches, batch_id, caller))


@router.post(
    "/batches/{batch_id}/cancel",
    status_code=202,
    summary="Cancel a batch",
    responses=problems(404, 422, 503),
    dependencies=[MAY_SUBMIT],
)
def cancel_batch(services: ServicesDep, caller: CallerDep, batch_id: Annotated[str, Path(max_length=200)]) -> BatchView:
    """Cancel all jobs of the batch that have not ended."""
    for job_id in _find(services.batches, batch_id, caller).statuses:
        services.records.cancel(job_id)
    return BatchView.of(_find(services.batches, batch_id, caller))
