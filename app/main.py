"""The HTTP service: settings in, an ASGI application out. Knows neither worker nor model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.core.settings import Settings
from app.core.version import service_version
from app.metrics import Metrics
from app.middleware import RequestMiddleware
from app.openapi import use_problem_type
from app.problems import install_handlers
from app.routes import health, jobs, pages, results
from app.services import Prober, build_services

TITLE = "lipsync"
DESCRIPTION = """A video and a voice go in, a video whose lips follow the voice comes out.

`POST /jobs` answers at once with a queued job; poll it until its status is `succeeded`, `failed` or `canceled`, then
fetch the result. Every problem is `application/problem+json` with a `code` that never changes its meaning."""


def create_app(settings: Settings, prober: Prober | None = None) -> FastAPI:
    """Build the application; needs `redis_url`. A prober handed in stands in for probing in child processes."""
    services = build_services(settings, prober)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services.workspace.prepare()
        services.reaper.start()
        services.sweeper.start()
        yield
        services.reaper.stop()
        services.sweeper.stop()
        services.redis.close()

    app = FastAPI(title=TITLE, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.state.services = services
    app.state.metrics = Metrics(services)
    for module in (jobs, results, health, pages):
        app.include_router(module.router)
    install_handlers(app)
    app.add_middleware(RequestMiddleware)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=TITLE, version=service_version(), description=DESCRIPTION, routes=app.routes)
            app.openapi_schema = use_problem_type(document)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; answers that are under way may end."""
    import uvicorn

    uvicorn.run(
        create_app(settings), host=settings.host, port=settings.port, log_config=None, access_log=False,
        timeout_graceful_shutdown=8, server_header=False,
    )
