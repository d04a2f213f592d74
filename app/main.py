"""The HTTP service: the ASGI application and its server. It uses neither the worker nor the model."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.concurrency import run_in_threadpool
from uvicorn.config import STARTUP_FAILURE

from app.core.settings import Settings
from app.core.version import service_version
from app.methods import with_head_routes
from app.metrics import Metrics
from app.middleware import RequestMiddleware
from app.openapi import corrected
from app.problems import install_handlers
from app.routes import events, health, jobs, pages, results
from app.services import Prober, build_services
from app.shutdown import CUT_S, Server

TITLE = "lipsync"
DESCRIPTION = """Send a video and a voice; get a video whose lips follow the voice.

`POST /jobs` answers at once with a queued job. Follow its events, or poll it until its status is `succeeded`, `failed`
or `canceled`; with `?wait=30` few calls are enough. Then download the result. Every error answer is
`application/problem+json` with a `code` that never changes its meaning."""

ROUTERS: Final = tuple(with_head_routes(module.router) for module in (jobs, events, results, health, pages))


def create_app(settings: Settings, prober: Prober | None = None) -> FastAPI:
    """Return the application; the settings need `redis_url`. A given prober replaces probing in child processes."""
    services = build_services(settings, prober)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services.workspace.prepare()
        services.reaper.start()
        services.sweeper.start()
        yield
        services.shutdown.begin()
        await services.listeners.close()
        await run_in_threadpool(services.reaper.stop)
        await run_in_threadpool(services.sweeper.stop)
        services.redis.close()

    app = FastAPI(title=TITLE, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.state.services = services
    app.state.metrics = Metrics(services)
    for router in ROUTERS:
        app.include_router(router)
    install_handlers(app, [app.router, *ROUTERS])
    app.add_middleware(RequestMiddleware)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=TITLE, version=service_version(), description=DESCRIPTION, routes=app.routes)
            app.openapi_schema = corrected(document)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then let running answers end. Raises SystemExit if the server cannot start."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=CUT_S,
        server_header=False,
    )
    server = Server(config, app.state.services.shutdown)
    with suppress(KeyboardInterrupt):  # uvicorn shuts down first, then raises the signal again
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)
