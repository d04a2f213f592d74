"""Error answers: every one is a problem document (application/problem+json, RFC 9457).

An error of this service has its own code, an error of the framework gets the closest code. The text of any other
exception is never sent.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Final

import redis
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kombu.exceptions import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.core.errors import ERROR_FACTS, ErrorCode, ErrorFacts, LipSyncError, public_error
from app.core.faults import reason_of
from app.core.options import quoted
from app.core.probing.probe import ProbeBrokenError
from app.core.records.connection import is_unavailable
from app.core.storage.port import StorageUnavailableError
from app.methods import allowed_methods
from app.schemas import Problem

PROBLEM_TYPE: Final = "application/problem+json"
STORE_RETRY_AFTER_S: Final = 5
IS_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")  # names of fields and headers
TOO_SLOW: Final = ErrorFacts(408, True, "Send the whole request without long pauses.")
# Of errors of HTTP itself, whose hint is not that of their code.
HTTP_FACTS: Final = {
    facts.http_status: facts
    for facts in (
        TOO_SLOW,
        ErrorFacts(412, False, "Download the file again from its beginning, without `If-Match`."),
        ErrorFacts(415, False, "Send a form (multipart/form-data), as `curl -F` and browsers do."),
        ErrorFacts(416, False, "Ask for bytes that the file has, or leave out `Range` to get all of it."),
    )
}

_Handler = Callable[[Request, Exception], Response]

_log = logging.getLogger("lipsync.api")


def problem(
    request: Request,
    status: int,
    code: ErrorCode,
    detail: str,
    headers: Mapping[str, str] | None = None,
    facts: ErrorFacts | None = None,
    **extensions: object,
) -> JSONResponse:
    """Return the answer for a problem; facts: else those of the code; `extensions`: further members of the document."""
    facts = facts or ERROR_FACTS[code]
    body = Problem(
        type=f"urn:lipsync:error:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        request_id=request.scope.get("request_id", ""),
        retryable=facts.retryable,
        hint=facts.hint,
    )
    content = body.model_dump(mode="json") | extensions
    return JSONResponse(content, status, headers=headers, media_type=PROBLEM_TYPE)


def on_error(request: Request, error: Exception) -> Response:
    """Return the answer for any exception of a route."""
    shown = public_error(error)
    if shown.code is ErrorCode.INTERNAL and not isinstance(error, LipSyncError):
        _log.error("unexpected request=%s", request.scope.get("request_id"), exc_info=error)
    headers = {} if shown.retry_after_s is None else {"Retry-After": str(shown.retry_after_s)}
    if shown.code is ErrorCode.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(request, shown.facts.http_status, shown.code, shown.message, headers, shown.facts)


def _http_exception_handler(routers: Iterable[APIRouter]) -> _Handler:
    """Return the handler of the framework's errors; it answers OPTIONS too, for which no route exists."""

    def on_http_exception(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            return on_error(request, error)
        status, headers = error.status_code, error.headers
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": allowed_methods(routers, request.scope)}
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=headers)
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
            code = ErrorCode.NOT_FOUND
            detail = (
                "There is nothing at this address." if status == 404 else "This address does not accept this method."
            )
        else:
            code = ErrorCode.INTERNAL if status >= 500 else ErrorCode.OPTION_INVALID
            detail = str(error.detail)
        return problem(request, status, code, detail, headers, HTTP_FACTS.get(status))

    return on_http_exception


def _on_invalid_parameter(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        return on_error(request, error)
    first = error.errors()[0]
    is_name = len(first["loc"]) > 1 and isinstance(first["loc"][-1], str)  # else the body as a whole, or a place in it
    name = first["loc"][-1] if is_name else "body"
    shown = name if IS_PLAIN.fullmatch(name) else quoted(name)
    expected = _description(request, name) if first["type"] == "string_pattern_mismatch" else None
    reason = f"not valid; expected: {expected.removesuffix('.')}" if expected else reason_of(first)
    return problem(request, 422, ErrorCode.OPTION_INVALID, f"{shown}: {reason}.")


def _description(request: Request, name: str) -> str | None:
    """Return what the description of the API says of a parameter of the route, None if it says nothing."""
    route = request.scope.get("route")
    path = request.app.openapi()["paths"].get(getattr(route, "path", ""), {})
    parameters = path.get(request.method.lower(), {}).get("parameters", [])
    texts = (one.get("description") for one in parameters if one["name"] == name)
    return next(texts, None)


def _on_redis_error(request: Request, error: Exception) -> Response:
    if not (isinstance(error, OperationalError) or is_unavailable(error)):
        return on_error(request, error)
    _log.warning("redis unavailable request=%s error=%s", request.scope.get("request_id"), type(error).__name__)
    headers = {"Retry-After": str(STORE_RETRY_AFTER_S)}
    return problem(request, 503, ErrorCode.INTERNAL, "The job store does not answer; try again shortly.", headers)


def _on_unavailable(request: Request, error: Exception) -> Response:
    """Answer 503 for a part of the service that cannot work now: the storage, or the child process of a probe."""
    shown = public_error(error)
    _log.warning("unavailable request=%s error=%s", request.scope.get("request_id"), type(error).__name__)
    headers = {"Retry-After": str(shown.retry_after_s or STORE_RETRY_AFTER_S)}
    return problem(request, 503, shown.code, shown.message, headers, shown.facts)


def _on_disconnect(request: Request, error: Exception) -> Response:
    _log.info("client disconnected request=%s", request.scope.get("request_id"))
    return Response(status_code=499)


def install_handlers(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Make the application, which has these routers, answer every failure with a problem."""
    app.add_exception_handler(LipSyncError, on_error)
    for unavailable in (StorageUnavailableError, ProbeBrokenError):
        app.add_exception_handler(unavailable, _on_unavailable)
    app.add_exception_handler(OSError, on_error)
    app.add_exception_handler(HTTPException, _http_exception_handler(routers))
    app.add_exception_handler(RequestValidationError, _on_invalid_parameter)
    for error in (redis.RedisError, OperationalError):
        app.add_exception_handler(error, _on_redis_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
