"""What the routes that create a job or a batch share: the Idempotency-Key, and the answer 202."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import JSONResponse

from app.idempotency import KEY_SCHEMA

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="A call that repeats the key and the content of an earlier call returns what that call created.",
        json_schema_extra=KEY_SCHEMA,
    ),
]


def accepted(body: dict[str, Any], location: str, *, replayed: bool) -> JSONResponse:
    """Return the answer with what was created, now or by an earlier call with the same key, and its path."""
    headers = {"Location": location} | ({"Idempotency-Replayed": "true"} if replayed else {})
    return JSONResponse(body, 202, headers)
