"""The download of a file whose address a stranger sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import httpcore

from app.core.checks import Check, never_stop
from app.core.errors import ErrorCode, InputError
from app.core.files import replacing
from app.core.outgoing.client import BROKEN, Destination, OutgoingClient, fetch_failed, named_failures
from app.core.outgoing.deadline import Deadline
from app.core.outgoing.partial_content import content_length, header, length_if_exact_rest, strong_validator

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
OK: Final = 200
PARTIAL_CONTENT: Final = 206
# Each chunk costs time, whatever its size: after the first ones, they must have some bytes on average.
MAX_SMALL_CHUNKS: Final = 10_000
MIN_CHUNK_BYTES: Final = 64


@dataclass(frozen=True)
class FetchedFile:
    """Facts about a downloaded file. content_type: as the host says, not checked; None if it does not say."""

    size_bytes: int
    sha256: str
    content_type: str | None


@dataclass
class _Download:
    """A file that is being written, and what its host has said about it."""

    file: BinaryIO
    max_bytes: int
    size_bytes: int = 0
    total_bytes: int | None = None
    validator: str | None = None
    etag: str | None = None
    content_type: str | None = None
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def begin(self, response: httpcore.Response) -> None:
        """Start at byte 0 with what this answer says; raise InputError if it is refused by its head."""
        refuse_encoded(response)
        self.file.seek(0)
        self.file.truncate()
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self.total_bytes = content_length(response.headers)
        self.validator = strong_validator(response.headers)
        self.etag = header(response.headers, "etag")
        self.content_type = header(response.headers, "content-type")
        self.refuse_larger(self.total_bytes or 0)

    def go_on(self, response: httpcore.Response) -> None:
        """Accept this answer as the rest of the file; raise InputError if it is not exactly that."""
        refuse_encoded(response)
        length = length_if_exact_rest(response.headers, self.size_bytes, self.total_bytes, self.etag)
        if length is None:
            raise fetch_failed("The host of the address does not continue the file where it broke off.")
        self.refuse_larger(length)
        self.total_bytes = length

    def receive(self, response: httpcore.Response) -> None:
        """Write the body of an answer; raise httpcore's errors if it breaks, InputError if it is too large."""
        for number, chunk in enumerate(response.iter_stream()):
            if number > MAX_SMALL_CHUNKS and self.size_bytes < number * MIN_CHUNK_BYTES:
                raise fetch_failed("The host of the address sends the file in too many small pieces.")
            self.refuse_larger(self.size_bytes + len(chunk))
            self.file.write(chunk)
            self.digest.update(chunk)
            self.size_bytes += len(chunk)
        if self.total_bytes not in (None, self.size_bytes):
            raise httpcore.RemoteProtocolError("the body is shorter than its length")

    def refuse_larger(self, size_bytes: int) -> None:
        """Raise InputError(input_too_large) if the file would have more bytes than allowed."""
        if size_bytes > self.max_bytes:
            raise InputError(
                ErrorCode.INPUT_TOO_LARGE, f"The file at the address is larger than {self.max_bytes} bytes."
            )


def fetch(
    client: OutgoingClient, address: str, path: Path, *, max_bytes: int, check: Check = never_stop
) -> FetchedFile:
    """Download a file to a path, which then holds the whole file or, after an error, what it held before.

    A body that breaks off is continued once, by range if the host can, else from its first byte.
    Raise InputError: url_blocked, url_fetch_failed, input_too_large; and whatever `check` raises.
    """
    deadline = Deadline.after(client.limits.total_s, check)
    with replacing(path) as partial:
        with partial.open("wb") as file:
            download = _Download(file, max_bytes)
            destination = _first_try(client, address, download, deadline)
            if destination is not None:
                _second_try(client, destination, download, deadline)
        return FetchedFile(download.size_bytes, download.digest.hexdigest(), download.content_type)


def _first_try(client: OutgoingClient, address: str, download: _Download, deadline: Deadline) -> Destination | None:
    """Follow the redirects and receive the body; return where to ask for the rest, None if the body is complete."""
    destination = client.destination(address, deadline)
    for _ in range(client.limits.max_redirects + 1):
        with client.exchange(destination, deadline, {"Accept": "*/*"}) as response:
            if response.status not in REDIRECTS:
                expect_ok(response)
                download.begin(response)
                try:
                    download.receive(response)
                except BROKEN:
                    return destination
                return None
            location = header(response.headers, "location")
        if location is None:
            raise fetch_failed("The host of the address redirects to nowhere.")
        destination = client.next_destination(destination, location, deadline)
    raise fetch_failed(f"The address leads to another one more than {client.limits.max_redirects} times.")


def _second_try(client: OutgoingClient, destination: Destination, download: _Download, deadline: Deadline) -> None:
    """Receive the rest of a body that broke off, from the same addresses."""
    headers = {"Accept": "*/*"}
    if download.size_bytes > 0 and download.validator is not None:
        headers |= {"Range": f"bytes={download.size_bytes}-", "If-Range": download.validator}
    with client.exchange(destination, deadline, headers) as response:
        if "Range" in headers and response.status == PARTIAL_CONTENT:
            download.go_on(response)
        else:
            expect_ok(response)
            download.begin(response)
        with named_failures():
            download.receive(response)


def expect_ok(response: httpcore.Response) -> None:
    """Raise InputError(url_fetch_failed) unless the answer is a whole file."""
    if response.status != OK:
        raise fetch_failed(f"The host of the address answers with status {response.status}.")


def refuse_encoded(response: httpcore.Response) -> None:
    """Raise InputError(url_fetch_failed) if the body is compressed: it could unpack to any size."""
    names = [value.strip().lower() for key, value in response.headers if key.lower() == b"content-encoding"]
    if any(name not in (b"", b"identity") for name in names):
        raise fetch_failed("The host of the address sends the file compressed, though it was asked not to.")
