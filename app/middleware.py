"""Middleware around every call: request id, log line, metrics, and an answer to unexpected exceptions."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import on_error
from app.shutdown import stopping_error

_CALLERS_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

# Every other method has one name in metrics and log lines: a client can invent as many as it likes.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# These are called so often that they are logged at DEBUG only.
_POLLED: Final = frozenset({"/healthz", "/readyz", "/metrics", "/jobs/{job_id}"})

_log = logging.getLogger("lipsync.access")


class RequestMiddleware:
    """Middleware that identifies, times, logs and counts each call.

    A plain ASGI class, so that bodies stream through it unchanged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["request_id"] = _request_id(scope)
        started_at = time.monotonic()
        status = 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except asyncio.CancelledError:
            if status or not scope["app"].state.services.shutdown.has_begun:
                raise
            await on_error(Request(scope), stopping_error())(scope, receive, send_named)
        except Exception as error:  # noqa: BLE001  the outermost handler: logged and answered here
            if status:
                _log.error("answer aborted request=%s", request_id, exc_info=error)
            else:
                await on_error(Request(scope), error)(scope, receive, send_named)
        finally:
            _report(scope, request_id, status, time.monotonic() - started_at)


def _request_id(scope: Scope) -> str:
    """Return the caller's X-Request-ID if it has only letters, digits and `._-`, else a new id."""
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if _CALLERS_ID.fullmatch(given) else secrets.token_hex(8)


def _report(scope: Scope, request_id: str, status: int, seconds: float) -> None:
    template = getattr(scope.get("route"), "path", "(none)")
    method = scope["method"] if scope["method"] in _METHODS else "(other)"
    scope["app"].state.metrics.observe(method, template, status, seconds)
    level = logging.DEBUG if template in _POLLED and method == "GET" else logging.INFO
    _log.log(level, "%s %s status=%d ms=%.1f request=%s", method, template, status, seconds * 1000, request_id)
