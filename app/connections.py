"""Connections of the HTTP server: how many there are, and how long a client may let one wait.

uvicorn closes a connection that stays idle after an answer. Without this module it would wait for ever for the first
byte of a request, for the rest of its header, for the rest of a body that nobody reads, and for a client that takes
nothing of its answer. Here each of these waits ends. The body of an upload has its own limit (`app.uploads`).

At the limit of connections, the one whose client has been silent longest, while the server waits for bytes of it, is
closed for the new one. So idle connections and idle uploads keep nobody out. If all connections are at work, the new
one gets a 503.

The limit is below the limit on open files, so the server never runs out of them: asyncio would then write thousands of
log lines a second.
"""

from __future__ import annotations

import asyncio
import resource
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.core.errors import CapacityError, ErrorCode, LipSyncError, RequestError
from app.problems import TOO_SLOW
from app.schemas import Problem

MAX_DESCRIPTORS: Final = 16_384
MAX_CONNECTIONS: Final = 4096
# Files that are open beside those of connections: Redis connections of listeners and threads, pipes of probes, and
# connections that were accepted at the same moment and are not yet counted (BACKLOG).
OTHER_DESCRIPTORS: Final = 500
DESCRIPTORS_PER_CONNECTION: Final = 3  # the socket, the file that is written, the lock on its folder
BACKLOG: Final = 128
RETRY_AFTER_S: Final = 5


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits on the connections of a server.

    most: number of connections. request_s: from the start of a connection, or from the end of an answer, until the
    header of the next request is complete. answer_s: for a client to take the next bytes of its answer.
    """

    most: int = MAX_CONNECTIONS
    request_s: float = 20.0
    answer_s: float = 120.0


def raise_descriptor_limit() -> int:
    """Raise this process's limit on open files as far as it may, at most to MAX_DESCRIPTORS; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return allowed
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def most_connections(descriptors: int) -> int:
    """Return how many connections may be open in a process that may open that many files."""
    return max(16, min(MAX_CONNECTIONS, (descriptors - OTHER_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION))


class ConnectionTable:
    """Connections of one server that wait for bytes of their clients, the longest silence first, and the limits."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.waiting: dict[LimitedProtocol, None] = {}

    def close_longest_silence(self) -> bool:
        """Close the connection whose client has been silent longest; return False if none waits for its client."""
        for protocol in self.waiting:
            protocol.drop()
            return True
        return False

    def protocol(self, **parts: Any) -> LimitedProtocol:
        """Return the protocol of a new connection; uvicorn calls this."""
        return LimitedProtocol(self, **parts)


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 on one connection, with a limit on every wait for its client."""

    def __init__(self, table: ConnectionTable, **parts: Any) -> None:
        super().__init__(**parts)
        self._table = table
        self._request_clock: asyncio.TimerHandle | None = None
        self._answer_clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; at the limit, make room or refuse."""
        super().connection_made(transport)
        if len(self.connections) > self._table.limits.most and not self._table.close_longest_silence():
            self._refuse(503, CapacityError(ErrorCode.QUEUE_FULL, "Too many connections are open; try again shortly."))
            return
        self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._table.waiting.pop(self, None)
        self._stop_request_clock()
        self._stop_answer_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle bytes of the client."""
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._follow()

    def pause_writing(self) -> None:
        """Note that the client takes the answer more slowly than it is made."""
        super().pause_writing()
        self._watch_answer(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Note that the client took most of what was made."""
        self._stop_answer_clock()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP; uvicorn calls this."""
        if self._is_answering:
            self.transport.abort()
        else:
            message, hint = "This is not a valid HTTP/1.1 request.", "Speak HTTP/1.1, without TLS, at this port."
            self._refuse(400, RequestError(ErrorCode.OPTION_INVALID, message, hint=hint))

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def drop(self) -> None:
        """Close the connection at once, without an answer."""
        self._stop_request_clock()
        self._table.waiting.pop(self, None)
        self.connections.discard(self)
        self.transport.abort()

    def _follow(self) -> None:
        """Note who waits for whom after something has happened.

        The clock runs while no request is being answered; bytes that trickle in do not restart it.
        """
        self._table.waiting.pop(self, None)
        if self.transport.is_closing():
            self._stop_request_clock()
            return
        is_receiving = self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused
        if is_receiving or not self._is_answering:
            self._table.waiting[self] = None  # at the end: the shortest silence
        if self._is_answering:
            self._stop_request_clock()
        elif self._request_clock is None:
            self._request_clock = self.loop.call_later(self._table.limits.request_s, self._on_no_request)

    def _stop_request_clock(self) -> None:
        if self._request_clock is not None:
            self._request_clock.cancel()
            self._request_clock = None

    def _on_no_request(self) -> None:
        self._stop_request_clock()
        has_begun_a_request = bool(self.conn.trailing_data[0])
        if has_begun_a_request:
            message = "The request did not arrive in time."
            slow = RequestError(ErrorCode.OPTION_INVALID, message, retryable=True, hint=TOO_SLOW.hint)
            self._refuse(408, slow)
        else:
            self.transport.close()

    def _watch_answer(self, left_bytes: int) -> None:
        self._stop_answer_clock()
        self._answer_clock = self.loop.call_later(self._table.limits.answer_s, self._on_slow_answer, left_bytes)

    def _on_slow_answer(self, left_bytes: int) -> None:
        now_left_bytes = self.transport.get_write_buffer_size()
        if now_left_bytes < left_bytes:
            self._watch_answer(now_left_bytes)
        else:
            self.transport.abort()

    def _stop_answer_clock(self) -> None:
        if self._answer_clock is not None:
            self._answer_clock.cancel()
            self._answer_clock = None

    def _refuse(self, status: int, error: LipSyncError) -> None:
        """Answer with a problem, outside any request, and close the connection."""
        problem = _problem(status, error)
        body = problem.model_dump_json().encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nX-Request-ID: {problem.request_id}\r\n"
            f"Retry-After: {RETRY_AFTER_S}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()


def _problem(status: int, error: LipSyncError) -> Problem:
    """Return the problem of a connection that has no request."""
    return Problem(
        type=f"urn:lipsync:error:{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        code=error.code,
        request_id=secrets.token_hex(8),
        retryable=error.facts.retryable,
        hint=error.facts.hint,
    )
