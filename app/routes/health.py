"""Routes about the service: alive, ready, metrics, and information."""

from __future__ import annotations

import platform
from typing import Final

import redis
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.core.errors import ErrorCode, ErrorFacts, LipSyncError
from app.core.storage.open import is_bucket
from app.core.version import service_version
from app.dependencies import MAY_ADMINISTER, CallerDep, RecordsDep, ServicesDep, SettingsDep
from app.openapi import problems
from app.problems import STORE_RETRY_AFTER_S, problem
from app.schemas import InfoView
from app.services import Services

NOT_READY: Final = ErrorFacts(
    503, True, "The service may still be starting: ask again soon. `checks` names what is missing; the logs say why."
)

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="Check that the process is alive")
async def healthz() -> dict[str, str]:  # async: needs no free thread, so it answers even if Redis blocks them all
    """Answer as soon as the process runs; checks nothing else."""
    return {"status": "alive"}


def check_ready(services: Services) -> dict[str, str]:
    """Return a sentence for each part that keeps the service from working; an empty dict if it can work."""
    wrong: dict[str, str] = {}
    if services.shutdown.has_begun:
        wrong["process"] = "This process is about to end."
    try:
        if not services.records.live_workers():
            wrong["worker"] = "No worker with its model loaded is alive."
    except redis.RedisError:
        wrong["redis"] = "Redis does not answer."
    try:
        if services.workspace.free_bytes() <= 0:
            wrong["disk"] = "There is no disk space left."
    except OSError:
        wrong["disk"] = "The data folder cannot be reached."
    try:
        services.storage.check_space(0)
    except LipSyncError as error:
        wrong["storage"] = error.message
    return wrong


@router.get("/readyz", summary="Check that jobs can be done", response_model=dict[str, str], responses=problems(503))
def readyz(services: ServicesDep, request: Request) -> Response | dict[str, str]:
    """Answer 200 if a job that is sent now can be done, else 503 with the reasons in `checks`.

    Redis and the storage must answer, there must be disk space, and a worker must be alive with its model loaded.
    """
    wrong = check_ready(services)
    if wrong:
        headers = {"Retry-After": str(STORE_RETRY_AFTER_S)}
        return problem(request, 503, ErrorCode.INTERNAL, " ".join(wrong.values()), headers, NOT_READY, checks=wrong)
    return {"status": "ready"}


@router.get("/metrics", summary="Get Prometheus metrics", response_class=Response, dependencies=[MAY_ADMINISTER])
def metrics(request: Request) -> Response:
    """Return the metrics in the text format of Prometheus."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/info", summary="Get versions, limits and workers", responses=problems(503))
def info(settings: SettingsDep, records: RecordsDep, caller: CallerDep) -> InfoView:
    """Return the versions, the limits and the live workers of this service."""
    names = (
        "max_upload_bytes",
        "max_duration_s",
        "max_pixels",
        "max_fps",
        "max_queued_jobs",
        "max_active_per_key",
        "retention_s",
        "run_timeout_s",
        "max_attempts",
    )
    limits = {name: getattr(settings, name) for name in names}
    return InfoView(
        version=service_version(),
        python=platform.python_version(),
        limits=limits,
        workers=records.live_workers(),
        direct_uploads=is_bucket(settings),
    )
