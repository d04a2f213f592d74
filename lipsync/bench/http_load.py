"""Clients that cost little beside the server that they measure: plain sockets and prepared bytes."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Final

import httpx

READ_BYTES: Final = 65536
TIMEOUT_S: Final = 300.0


@dataclass
class _KeptConnection:
    """Connection that sends the same request again as soon as its answer is complete."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)

    def take(self) -> bool:
        """Read what has come; return whether an answer is complete. Raises ConnectionError for another one than 200."""
        block = self.socket.recv(READ_BYTES)
        if not block:
            raise ConnectionError("the service closed a connection")
        self.received += block
        head, mark, body = self.received.partition(b"\r\n\r\n")
        if not mark:
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"the service answered {bytes(head[:40])!r}")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if len(body) < int(length):
            return False
        self.received.clear()
        return True


def dial(url: str) -> socket.socket:
    """Return a connection to the service at an address like http://127.0.0.1:8000."""
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port or 80), timeout=TIMEOUT_S)


def get_request(path: str) -> bytes:
    """Return the bytes of a GET on a connection that stays open."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def answers_per_s(url: str, path: str, clients: int, seconds: float) -> float:
    """Return how many times a second so many clients together get an address, each one call after the other."""
    request, answers = get_request(path), 0
    with ExitStack() as opened, selectors.DefaultSelector() as ready:
        for _ in range(clients):
            connection = _KeptConnection(opened.enter_context(closing(dial(url))))
            ready.register(connection.socket, selectors.EVENT_READ, connection)
            connection.socket.sendall(request)
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            for key, _ in ready.select(TIMEOUT_S):
                if key.data.take():
                    answers += 1
                    key.data.socket.sendall(request)
        return answers / (time.perf_counter() - started)


def form_of(files: Iterable[tuple[str, bytes]]) -> tuple[bytes, bytes]:
    """Return the value of Content-Type and the body of a form with these files."""
    made = httpx.Request("POST", "http://form", files=[(name, (f"{name}.bin", content)) for name, content in files])
    return made.headers["content-type"].encode(), made.read()


def post_form(url: str, path: str, kind: bytes, body: bytes) -> tuple[float, httpx.Response]:
    """Send a form on a new connection; return the seconds until its answer has come, and the answer."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n".encode()
    with closing(dial(url)) as connection:
        started = time.perf_counter()
        connection.sendall(head + b"Content-Type: " + kind + b"\r\n\r\n")
        connection.sendall(body)
        received = b"".join(iter(lambda: connection.recv(READ_BYTES), b""))
        took_s = time.perf_counter() - started
    status_line, *lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    pairs = [tuple(line.split(": ", 1)) for line in lines]
    request = httpx.Request("POST", f"{url}{path}")
    status = int(status_line.split()[1])
    return took_s, httpx.Response(status, headers=[(pair[0], pair[-1]) for pair in pairs], request=request)
