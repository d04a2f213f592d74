"""A receiver of webhooks that often fails: the other side of the scenario `webhooks`."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

MOST_FAILURES: Final = 2  # of one message: the pauses after more of them are too long for a test
SLOW_S: Final = 3.0
FAULTS: Final = {"500": 3, "503, later": 2, "no answer": 2, "slow": 1, "received": 8}
LATER_S: Final = 8  # longer than the pause after a first failure


@dataclass(frozen=True)
class Message:
    """Message that came in: its id, the subject and the number of its event, the body, and whether it was taken."""

    id: str
    subject: str
    event: tuple[int, int]
    body: bytes
    is_taken: bool
    at: float


class Receiver:
    """Server on this host that keeps every message in the order of its arrival; a context manager."""

    def __init__(self, secret: str, seed: int) -> None:
        self.messages: list[Message] = []
        self.answers: Counter[str] = Counter()
        self.unsigned = self.too_early = 0
        self._secret, self._random = secret, random.Random(seed)
        self._failures: Counter[str] = Counter()
        self._closed_until: dict[str, float] = {}
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.answer(self, body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        """Keep a message, and take it or fail in one of many ways."""
        event_id = request.headers["webhook-id"]
        try:
            Verifier(self._secret).verify(body, {name.lower(): value for name, value in request.headers.items()})
        except WebhookVerificationError:
            self.unsigned += 1
        with self._lock:
            how = self._choose(event_id)
            self.too_early += time.monotonic() < self._closed_until.get(event_id, 0.0)
            if how == "503, later":
                self._closed_until[event_id] = time.monotonic() + LATER_S - 1
        if how == "slow":
            time.sleep(SLOW_S)
        subject, _, number = event_id.partition("-")
        first, _, second = number.partition("-")
        is_taken = how in ("received", "slow")
        with self._lock:
            event = (int(first), int(second or 0))
            self.messages.append(Message(event_id, subject, event, body, is_taken, time.monotonic()))
        if how == "no answer":
            request.close_connection = True
            return
        request.send_response({"500": 500, "503, later": 503}.get(how, 204))
        if how == "503, later":
            request.send_header("Retry-After", str(LATER_S))
        request.end_headers()

    def _choose(self, event_id: str) -> str:
        how = self._random.choices(list(FAULTS), list(FAULTS.values()))[0]
        if how not in ("received", "slow"):
            self._failures[event_id] += 1
            if self._failures[event_id] > MOST_FAILURES:
                how = "received"
        self.answers[how] += 1
        return how
