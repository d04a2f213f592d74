"""Servers, names and a client for the tests of outgoing requests; all on this machine, none looked up."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network

from app.core.outgoing.addresses import IPAddress
from app.core.outgoing.client import OutgoingClient
from app.core.outgoing.lookup import Resolver
from app.core.outgoing.policy import OutgoingLimits, OutgoingPolicy

GOOD = "film.good.test"
QUICK = OutgoingLimits(total_s=20.0, lookup_s=10.0, connect_s=10.0, idle_s=10.0, refusal_s=0.0)


class Server:
    """A server that answers each connection by a function: first the head of the request, then the connection."""

    def __init__(
        self,
        *answers: bytes | Callable[[socket.socket, bytes], None],
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._answers = answers
        self._tls = tls
        self._listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64
        )
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.requests: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Server:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        # Unlike close, this wakes the thread that waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            answer = self._answers[min(self.connections, len(self._answers) - 1)] if self._answers else b""
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection, answer), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, answer: bytes | Callable[[socket.socket, bytes], None]) -> None:
        try:
            with connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True) as stream:
                stream.settimeout(10)
                request = b""
                while b"\r\n\r\n" not in request:
                    data = stream.recv(65536)
                    if not data:
                        return
                    request += data
                self.requests.append(request)
                if callable(answer):
                    answer(stream, request)
                else:
                    stream.sendall(answer)
                if self._tls is not None:
                    stream.unwrap()  # type: ignore[attr-defined]
        except OSError:
            pass
        finally:
            connection.close()


class Canaries:
    """Servers that nobody may reach: on both loopback addresses, on one port."""

    def __init__(self) -> None:
        self._servers = [Server(ok(b"secret"))]
        self.port = self._servers[0].port
        with suppress(OSError):  # no IPv6 here
            self._servers.append(Server(ok(b"secret"), host="::1", port=self.port))

    def __enter__(self) -> Canaries:
        for server in self._servers:
            server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.__exit__()

    @property
    def connections(self) -> int:
        return sum(server.connections for server in self._servers)


class Names:
    """A resolver that knows some names; each lookup takes the name's next answer, the last one again and again.

    A name that it does not know is read as C libraries read numbers, so 0x7f.1 is 127.0.0.1.
    """

    def __init__(self, **answers: str) -> None:
        self._answers = {name.replace("_", "."): text.split(" then ") for name, text in answers.items()}
        self.lookups: list[str] = []

    def __call__(self, host: str) -> Sequence[IPAddress]:
        self.lookups.append(host)
        answers = self._answers.get(host)
        if answers is None:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            return [ip_address(str(entry[4][0])) for entry in found]
        text = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ip_address(word) for word in text.split()]


def ok(body: bytes, *headers: str) -> bytes:
    """Return a whole answer."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: int = 302) -> bytes:
    """Return a whole answer that leads elsewhere."""
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def client_for(
    *ports: int, names: Resolver | None = None, networks: str = "127.0.0.1/32", **changes: object
) -> OutgoingClient:
    """Return a client as in production, but for its ports, its names, and *.good.test, which may be 127.0.0.1.

    Nothing else is opened: for every other host, loopback addresses stay refused. `changes` are limits.
    """
    return OutgoingClient(
        OutgoingPolicy(
            mode="public",
            hosts=("*.good.test",),
            ports=frozenset({80, 443, *ports}),
            trusted_networks=(ip_network(networks),),
        ),
        replace(QUICK, **changes),  # type: ignore[arg-type]
        names or Names(film_good_test="127.0.0.1"),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # trusts nobody
    )
