"""Reception of a multipart form: files are written to disk as they arrive, with one limit for all bytes.

A thread parses and writes the form block by block, so neither the parser nor the disk blocks the event loop. A block is
passed on as it came, in one to a few pieces: joining them would cost a copy, and memory in each of many uploads. No
file is ever held in memory or written twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from app.core.errors import CapacityError, InputError
from app.form_shapes import FormShape
from app.form_writer import FORM_OVERHEAD_BYTES, Form, FormWriter, too_large

BLOCK_BYTES: Final = 128 * 1024  # worth a call in a thread, and little for each of many uploads at once
MOST_PIECES: Final = 64  # of a block: a client can send a byte at a time, and each piece costs memory
MAX_BOUNDARY_BYTES: Final = 256  # most that the parser takes
DRAIN_BYTES: Final = 16 * 1024**2  # most that is still read after a refusal
DRAIN_S: Final = 2.0  # and for how long


@dataclass(frozen=True)
class UploadPace:
    """Slowest pace of an upload: so many bytes in every window, or the end of the form.

    A window measures only the time in which the service waits for the client. A client that sends nothing must not hold
    a connection and a folder for long.
    """

    window_s: float = 30.0
    window_bytes: int = 16 * 1024


@dataclass(frozen=True)
class UploadLimits:
    """Limits on one upload.

    max_bytes: of all files together. check_space: raises CapacityError if so many bytes do not fit on the disk.
    """

    max_bytes: int
    check_space: Callable[[int], None]
    pace: UploadPace = field(default_factory=UploadPace)


async def receive_form(request: Request, folder: Path, limits: UploadLimits, shape: FormShape) -> Form:
    """Write the files of a form to `folder` and return their paths with the other fields.

    Raises InputError(input_too_large, option_invalid), CapacityError(storage_full), HTTPException(408, 415),
    ClientDisconnect, OSError. Files that were written before an error stay; the caller removes the folder.
    """
    body, max_bytes = _Body(request, limits.pace), limits.max_bytes
    try:
        boundary = _boundary(request)
        _check_length(request, max_bytes)
        writer = FormWriter(boundary, folder, max_bytes, shape)

        def write(block: list[bytes]) -> None:
            limits.check_space(sum(map(len, block)))
            for part in block:
                writer.feed(part)

        try:
            async for block in body.blocks():
                await run_in_threadpool(write, block)
            return await run_in_threadpool(writer.finish)
        finally:
            writer.close()
    except (InputError, CapacityError, HTTPException):
        await body.drain()
        raise


def declared_bytes(request: Request, max_bytes: int) -> int:
    """Return how many bytes of disk the form needs if it is as long as its Content-Length says, 0 without one."""
    return min(_declared_bytes(request) or 0, max_bytes + FORM_OVERHEAD_BYTES)


def _declared_bytes(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise HTTPException(415, "Send the request as multipart/form-data.")
    boundary: bytes = options[b"boundary"]
    if len(boundary) > MAX_BOUNDARY_BYTES:
        raise HTTPException(415, f"A boundary can have {MAX_BOUNDARY_BYTES} characters.")
    return boundary


def _check_length(request: Request, max_bytes: int) -> None:
    if (_declared_bytes(request) or 0) > max_bytes + FORM_OVERHEAD_BYTES:
        raise too_large(max_bytes)


class _Body:
    """Body of a request, read in blocks that are large enough to be worth a call in a thread."""

    def __init__(self, request: Request, pace: UploadPace) -> None:
        self._request, self._pace = request, pace
        self._ended = False
        self._window_bytes, self._left_s = 0, pace.window_s

    async def blocks(self) -> AsyncIterator[list[bytes]]:
        """Yield the body in blocks of at least BLOCK_BYTES, or of MOST_PIECES pieces, as it came.

        Raises ClientDisconnect, HTTPException(408).
        """
        gathered: list[bytes] = []
        while not self._ended:
            gathered.append(await self._receive_in_time())
            if self._ended or len(gathered) >= MOST_PIECES or sum(map(len, gathered)) >= BLOCK_BYTES:
                yield gathered
                gathered = []

    async def _receive_in_time(self) -> bytes:
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        try:
            async with asyncio.timeout(self._left_s):
                received = await self._receive()
        except TimeoutError:
            self._ended = True
            raise HTTPException(408, "The form arrives too slowly.", {"Connection": "close"}) from None
        self._left_s -= loop.time() - begun_at
        self._window_bytes += len(received)
        if self._window_bytes >= self._pace.window_bytes:
            self._window_bytes, self._left_s = 0, self._pace.window_s
        return received

    async def _receive(self) -> bytes:
        message = await self._request.receive()
        if message["type"] == "http.disconnect":
            self._ended = True
            raise ClientDisconnect
        self._ended = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    async def drain(self) -> None:
        """Read on for up to DRAIN_S after a refusal: a client that is still sending would otherwise miss the answer."""
        if "expect" in self._request.headers:
            return  # the client waits for an answer before it sends the body
        left = DRAIN_BYTES
        with suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(DRAIN_S):
                while left > 0 and not self._ended:
                    left -= len(await self._receive())
