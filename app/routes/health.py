"""Say whether the service lives, whether it can work, and what it is."""

from __future__ import annotations

import platform

import redis
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.core.errors import ErrorCode, LipSyncError
from app.core.version import service_version
from app.dependencies import RecordsDep, ServicesDep, SettingsDep
from app.openapi import problems
from app.problems import STORE_RETRY_AFTER_S, problem
from app.schemas import InfoView
from app.services import Services

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="Alive")
async def healthz() -> dict[str, str]:  # in the event loop: no thread has to be free, whatever Redis does
    """Say that this process answers."""
    return {"status": "alive"}


def check_ready(services: Services) -> dict[str, str]:
    """Return what keeps the service from working, each with a sentence; empty where it can."""
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


@router.get("/readyz", summary="Able to work", response_model=dict[str, str], responses=problems(503))
def readyz(services: ServicesDep, request: Request) -> Response | dict[str, str]:
    """Say whether a job sent now would be done: Redis and storage answer, a worker is alive with its model."""
    wrong = check_ready(services)
    if wrong:
        headers = {"Retry-After": str(STORE_RETRY_AFTER_S)}
        return problem(request, 503, ErrorCode.INTERNAL, " ".join(wrong.values()), headers, checks=wrong)
    return {"status": "ready"}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/info", summary="Versions, limits, workers", responses=problems(503))
def info(settings: SettingsDep, records: RecordsDep) -> InfoView:
    """Return what runs here."""
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
        version=service_version(), python=platform.python_version(), limits=limits, workers=records.live_workers()
    )
