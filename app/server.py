"""The HTTP server: the sockets that it listens on, and uvicorn with limits on its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import uvicorn
from fastapi import FastAPI

from app.connections import BACKLOG, ConnectionLimits, ConnectionTable
from app.shutdown import CUT_S, Server

if TYPE_CHECKING:
    import asyncio


def make_server(app: FastAPI, limits: ConnectionLimits) -> Server:
    """Return a server of the application, for `run(sockets=...)`."""
    table = ConnectionTable(limits)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=cast("type[asyncio.Protocol]", table.protocol),
        ws="none",
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=CUT_S,
        server_header=False,
    )
    return Server(config, app.state.services.shutdown)
