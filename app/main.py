"""The HTTP service: the ASGI application and its server. It uses neither the worker nor the model."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from starlette.concurrency import run_in_threadpool
from uvicorn.config import STARTUP_FAILURE

from app.browser_guard import BrowserGuard
from app.connections import ConnectionLimits, most_connections, raise_descriptor_limit
from app.core.probing.probe import get_ready
from app.core.settings import Settings
from app.core.version import service_version
from app.methods import with_head_routes
from app.metrics import Metrics
from app.middleware import RequestMiddleware
from app.openapi import corrected
from app.problems import install_handlers
from app.routes import batches, events, health, jobs, pages, results, uploads, webhooks
from app.server import make_server
from app.services import Outside, build_services

TITLE = "lipsync"
DESCRIPTION = """Send a video and a voice; get a video whose lips follow the voice.

`POST /jobs` answers at once with a queued job. Follow its events, or poll it until its status is `succeeded`, `failed`
or `canceled`; with `?wait=30` few calls are enough. Then download the result. Every error answer is
`application/problem+json` with a `code` that never changes its meaning."""

# Headers of answers that scripts of listed pages may read.
EXPOSED_HEADERS: Final = (
    "Location",
    "Retry-After",
    "X-Request-ID",
    "Idempotency-Replayed",
    "ETag",
    "Content-Range",
    "Content-Disposition",
)
_MODULES: Final = (jobs, batches, uploads, events, results, webhooks, health, pages)
ROUTERS: Final = tuple(with_head_routes(module.router) for module in _MODULES)


def create_app(settings: Settings, outside: Outside | None = None) -> FastAPI:
    """Return the application; the settings need `redis_url`. Tests hand in another `outside` than the usual one."""
    services = build_services(settings, outside or Outside.of(settings))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services.workspace.prepare()
        services.reaper.start()
        services.sweeper.start()
        services.webhook_sender.start()
        yield
        services.shutdown.begin()
        await services.listeners.close()
        await services.reader.close()
        await run_in_threadpool(services.reaper.stop)
        await run_in_threadpool(services.sweeper.stop)
        await run_in_threadpool(services.webhook_sender.stop)
        services.redis.close()

    app = FastAPI(title=TITLE, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.state.services = services
    app.state.metrics = Metrics(services)
    for router in ROUTERS:
        app.include_router(router)
    install_handlers(app, [app.router, *ROUTERS])
    app.add_middleware(BrowserGuard, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Idempotency-Key", "Last-Event-ID", "Range", "X-Request-ID"],
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(RequestMiddleware)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=TITLE, version=service_version(), description=DESCRIPTION, routes=app.routes)
            app.openapi_schema = corrected(document)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def run_api(settings: Settings, sockets: list[socket.socket]) -> None:
    """Serve at these sockets until SIGTERM or SIGINT, then let running answers end.

    Raises SystemExit if the server cannot start.
    """
    app = create_app(settings)
    server = make_server(app, ConnectionLimits(most_connections(raise_descriptor_limit())))
    get_ready()
    with suppress(KeyboardInterrupt):  # uvicorn shuts down first, then raises the signal again
        server.run(sockets)
    if not server.started:
        sys.exit(STARTUP_FAILURE)
