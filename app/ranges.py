"""Serve a finished file in whole or in part (RFC 9110): one range, validators, and a body that outlives a delete."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

CHUNK_BYTES: Final = 256 * 1024
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class Span:
    """Some bytes of a file: from `start` up to but not including `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Return how many bytes."""
        return self.end - self.start


def parse_range(header: str | None, size: int) -> Span | None:
    """Return the wanted part of `size` bytes, or None for the whole: no header, several ranges, or no sense in it.

    Raises HTTPException(416) for a part that lies outside.
    """
    match = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise HTTPException(416, "The range lies outside the file.", {"Content-Range": f"bytes */{size}"})
    return Span(start, end)


def file_response(request: Request, path: Path, etag: str, filename: str, media_type: str) -> Response:
    """Answer GET or HEAD with the file; raises FileNotFoundError, HTTPException(416)."""
    descriptor = os.open(path, os.O_RDONLY)  # from here on the file may be deleted: the answer still ends
    try:
        size = os.fstat(descriptor).st_size
        headers = {
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Cache-Control": "private, no-cache",
            "Content-Disposition": f'attachment; filename="{filename}"',
        }
        if etag in _tags(request.headers.get("if-none-match", "")):
            os.close(descriptor)
            return Response(status_code=304, headers=headers)
        is_fresh = request.headers.get("if-range", etag) == etag
        span = parse_range(request.headers.get("range"), size) if is_fresh else None
    except BaseException:
        os.close(descriptor)
        raise
    status = 200 if span is None else 206
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{size}"
    span = span or Span(0, size)
    headers["Content-Length"] = str(span.size)
    if request.method == "HEAD":
        os.close(descriptor)
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(_chunks(descriptor, span), status, headers, media_type)


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _chunks(descriptor: int, span: Span) -> Iterator[bytes]:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(span.start)
        left = span.size
        while left > 0:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk
