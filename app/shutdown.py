"""Orderly shutdown of the API's process.

It begins with SIGTERM or SIGINT. From then on /readyz answers 503, new jobs are refused, and calls that wait for events
end at once. Running answers get DRAIN_S seconds to end. The socket listens until then, so that new callers get
an answer and not a refused connection. Then uvicorn stops.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import uvicorn

from app.core.errors import CapacityError, ErrorCode

DRAIN_S: Final = 7.0  # together with CUT_S less than `lipsync serve` and container runtimes allow
CUT_S: Final = 2  # then uvicorn cancels the answers that still run


class Shutdown:
    """State of the shutdown, and the waits that it interrupts; for use in one event loop."""

    def __init__(self) -> None:
        self.has_begun = False
        self._waits: set[anyio.CancelScope] = set()

    def begin(self) -> None:
        """Begin the shutdown: interrupt all current and future waits."""
        self.has_begun = True
        for wait in list(self._waits):
            wait.cancel()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Run a wait; when the shutdown begins, the `with` block is left early and without an error."""
        with anyio.CancelScope() as wait:
            self._waits.add(wait)
            if self.has_begun:
                wait.cancel()
            try:
                yield
            finally:
                self._waits.discard(wait)


def stopping_error() -> CapacityError:
    """Return the error for a call that this process refuses because it is shutting down."""
    return CapacityError(ErrorCode.QUEUE_FULL, "The service is stopping; try again shortly.", retry_after_s=5)


class Server(uvicorn.Server):
    """Uvicorn server that lets answers end before it stops."""

    def __init__(self, config: uvicorn.Config, shutdown: Shutdown, drain_s: float = DRAIN_S) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self.drain_s = drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let answers end while the socket still listens, then stop. A second signal stops at once."""
        self._shutdown.begin()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.drain_s
        while (answers := set(self.server_state.tasks)) and loop.time() < deadline and not self.force_exit:
            await asyncio.wait(answers, timeout=0.2)
        await super().shutdown(sockets)
