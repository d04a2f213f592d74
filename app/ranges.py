"""Answers with a file, whole or in part (RFC 9110): one range, ETag, conditional requests, body in chunks.

Starlette's FileResponse is not used, for four reasons. For a malformed Range header it answers 400, and for several
ranges it sends a multipart body; this service sends the whole file in both cases. Its 416 is not a problem document. It
handles neither If-Match nor If-None-Match. It opens the file after it has sent the headers, so a file that is deleted
in this moment could not be answered with 410.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class Served:
    """Facts of a file whose content never changes: size in bytes, ETag, and how to send it."""

    bytes: int
    etag: str
    filename: str
    media_type: str


@dataclass(frozen=True)
class Span:
    """Part of a file, in bytes: from `start` up to but not including `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        return self.end - self.start


def parse_range(header: str | None, size: int) -> Span | None:
    """Return the part of a file of `size` bytes that a Range header asks for.

    Return None for the whole file: without a header, with several ranges, or if the header is malformed. Raises
    HTTPException(416) if the part lies outside the file.
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
        raise HTTPException(
            416, f"The range lies outside the file, which has {size} bytes.", {"Content-Range": f"bytes */{size}"}
        )
    return Span(start, end)


def serve(request: Request, file: Served, read: Callable[[int, int], Iterator[bytes]]) -> Response:
    """Return the answer to GET or HEAD; `read(start, end)` returns the bytes of a part.

    The conditions are checked in the order of RFC 9110, section 13.2.2. Raises HTTPException(412, 416).
    """
    headers = {
        "ETag": file.etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{file.filename}"',
    }
    wanted, known = (_tags(request, name) for name in ("if-match", "if-none-match"))
    if wanted is not None and not wanted & {file.etag, "*"}:  # a strong comparison: W/"..." never matches
        raise HTTPException(412, "The file is not the one that `If-Match` names.", {"ETag": file.etag})
    if known is not None and {tag.removeprefix("W/") for tag in known} & {file.etag, "*"}:
        return Response(status_code=304, headers=headers)
    is_fresh = request.headers.get("if-range", file.etag) == file.etag
    span = parse_range(request.headers.get("range"), file.bytes) if is_fresh else None
    status = 200 if span is None else 206
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{file.bytes}"
    span = span or Span(0, file.bytes)
    headers["Content-Length"] = str(span.size)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=file.media_type)
    return StreamingResponse(read(span.start, span.end), status, headers, file.media_type)


def _tags(request: Request, name: str) -> set[str] | None:
    """Return the tags of all headers with this name; None without one."""
    values = request.headers.getlist(name)
    return {tag.strip() for tag in ",".join(values).split(",")} if values else None
