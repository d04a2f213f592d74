"""The end of the API's process: told to those who wait before it comes, so that it comes in time and in order.

SIGTERM or SIGINT begins it: readiness says no, new work is refused, waits for news are broken off, and answers under
way get DRAIN_S to end while the socket still listens, so that whoever asks is told and not cut off. Then uvicorn stops.
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

DRAIN_S: Final = 7.0  # with CUT_S well within the time that `lipsync serve` and container runtimes give
CUT_S: Final = 2


class Shutdown:
    """Know that the end has begun, and break off waits then; for use in one event loop."""

    def __init__(self) -> None:
        self.has_begun = False
        self._waits: set[anyio.CancelScope] = set()

    def begin(self) -> None:
        """Break off all waits, now and from now on."""
        self.has_begun = True
        for wait in list(self._waits):
            wait.cancel()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Run a wait that is left without an error, unfinished, as soon as the end begins."""
        with anyio.CancelScope() as wait:
            self._waits.add(wait)
            if self.has_begun:
                wait.cancel()
            try:
                yield
            finally:
                self._waits.discard(wait)


def stopping_error() -> CapacityError:
    """Return the refusal of what this process will not do any more."""
    return CapacityError(ErrorCode.QUEUE_FULL, "The service is stopping; try again shortly.", retry_after_s=5)


class Server(uvicorn.Server):
    """Serve until a signal, then drain."""

    def __init__(self, config: uvicorn.Config, shutdown: Shutdown, drain_s: float = DRAIN_S) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self.drain_s = drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let answers end while the socket still listens, then stop; a second signal stops at once."""
        self._shutdown.begin()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.drain_s
        while (answers := set(self.server_state.tasks)) and loop.time() < deadline and not self.force_exit:
            await asyncio.wait(answers, timeout=0.2)
        await super().shutdown(sockets)
