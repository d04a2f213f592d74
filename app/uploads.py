"""Reception of a multipart form: files are written to disk as they arrive, with one limit for all bytes.

A thread parses and writes the form block by block, so neither the parser nor the disk blocks the event loop. No file is
ever held in memory or written twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from app.core.errors import CapacityError, ErrorCode, InputError
from app.core.options import option_error, quoted
from app.form_shapes import FormShape

BLOCK_BYTES: Final = 1024**2
FORM_OVERHEAD_BYTES: Final = 256 * 1024  # boundaries, headers and options around the files
MAX_BOUNDARY_BYTES: Final = 256  # most that the parser takes
DRAIN_BYTES: Final = 16 * 1024**2  # most that is still read after a refusal
DRAIN_S: Final = 2.0  # and for how long


@dataclass
class Form:
    """Content of a form: the paths of its files on disk, and its other fields as text."""

    files: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


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
        writer = _FormWriter(boundary, folder, max_bytes, shape)

        def write(block: bytes) -> None:
            limits.check_space(len(block))
            writer.feed(block)

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
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> InputError:
    return InputError(ErrorCode.INPUT_TOO_LARGE, f"The files are larger than {max_bytes} bytes together.")


class _Body:
    """Body of a request, read in blocks that are large enough to be worth a call in a thread."""

    def __init__(self, request: Request, pace: UploadPace) -> None:
        self._request, self._pace = request, pace
        self._ended = False
        self._window_bytes, self._left_s = 0, pace.window_s

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the body in blocks of about BLOCK_BYTES; raises ClientDisconnect, HTTPException(408)."""
        gathered = bytearray()
        while not self._ended:
            gathered += await self._receive_in_time()
            if len(gathered) >= BLOCK_BYTES or self._ended:
                yield bytes(gathered)
                gathered.clear()

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


class _FormWriter:
    """Handler of the parser's events: writes each file to disk and collects the text of each option."""

    def __init__(self, boundary: bytes, folder: Path, max_bytes: int, shape: FormShape) -> None:
        self._folder, self._shape = folder, shape
        self._max_bytes = max_bytes
        self._left_bytes = max_bytes
        self._left_form_bytes = max_bytes + FORM_OVERHEAD_BYTES
        self._form = Form()
        self._headers: dict[bytes, bytes] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._name = ""
        self._file: BinaryIO | None = None
        self._unnamed_file = False
        self._text = bytearray()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, block: bytes) -> None:
        """Parse the next bytes of the body; raises InputError."""
        self._left_form_bytes -= len(block)
        if self._left_form_bytes < 0:
            raise _too_large(self._max_bytes)
        try:
            self._parser.write(block)
        except FormParserError:
            raise option_error("The form is not well-formed multipart/form-data.") from None

    def finish(self) -> Form:
        """Return the form; raises InputError if the body ended early or a required file is missing."""
        if not self._ended:
            raise option_error("The form ends before its closing boundary.")
        self._shape.check_complete(self._form.files.keys(), self._form.texts.keys())
        return self._form

    def close(self) -> None:
        """Close the file of a part that did not end."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise option_error("A part of the form has no name.")
        name = self._name = options[b"name"].decode("utf-8", "replace")
        self._unnamed_file = options.get(b"filename") == b""
        if name in self._form.files or name in self._form.texts:
            raise option_error(f"{name}: sent more than once.")
        field_kind = self._shape.kind(name, b"filename" in options)
        if field_kind is None:
            raise option_error(f"{quoted(name)} is neither a file nor an option of a job.")
        if field_kind == "file":
            if len(self._form.files) >= self._shape.max_files:
                raise option_error(f"The form has more than {self._shape.max_files} files.")
            path = self._form.files[name] = self._folder / name
            self._file = path.open("xb")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._text += data[start:end]
            if len(self._text) > self._shape.max_text_bytes(self._name):
                raise option_error(f"{self._name}: too long.")
            return
        self._left_bytes -= end - start
        if self._left_bytes < 0:
            raise _too_large(self._max_bytes)
        self._file.write(memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        if self._file is None:
            self._form.texts[self._name] = self._decoded()
            return
        is_absent = self._unnamed_file and self._file.tell() == 0  # a browser sends an empty file field so
        self.close()
        if is_absent:
            self._form.files.pop(self._name).unlink()

    def _decoded(self) -> str:
        try:
            return self._text.decode("utf-8")
        except UnicodeDecodeError:
            raise option_error(f"{self._name}: must be UTF-8 text.") from None
        finally:
            self._text.clear()

    def _on_end(self) -> None:
        self._ended = True
