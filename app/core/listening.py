"""Addresses that a server listens at: opened once, before anything else starts, with one sentence for what is wrong."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from typing import Final

from app.core.errors import InputError
from app.core.options import option_error

SILENCE_S: Final = 120  # a connection whose client vanished, which sends no end, is closed after so long

_REASONS: Final = {
    errno.EADDRINUSE: "another program listens there",
    errno.EACCES: "this user may not listen there",
    errno.EADDRNOTAVAIL: "no network interface of this machine has this address",
}


def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each address of the host (`localhost` can have two); port 0 takes a free one.

    Raises InputError(option_invalid) that names the settings.
    """
    sockets: list[socket.socket] = []
    with ExitStack() as opened:
        for family, name in _resolved(host, port):
            chosen = sockets[0].getsockname()[1] if sockets else port  # port 0 becomes the same port everywhere
            try:
                sockets.append(opened.enter_context(_bound(family, name, chosen)))
            except OSError as error:
                if sockets and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    continue  # `localhost` is named ::1 too on machines without IPv6
                raise _refusal(host, port, _REASONS.get(error.errno or 0, error.strerror or "")) from None
        opened.pop_all()
    return sockets


def _resolved(host: str, port: int) -> list[tuple[int, str]]:
    """Return families and numeric addresses of a host, IPv4 first."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise _refusal(host, port, "the host has no such name or address") from None
    addresses = {(int(family), str(address[0])) for family, _, _, _, address in found}
    return sorted(addresses)  # AF_INET is the smaller number


def _bound(family: int, name: str, port: int) -> socket.socket:
    # Named TCP, because asyncio turns off Nagle's delay only on sockets that say so: 40 ms for each answer.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these. Without them, a listener of a vanished client would stay a quarter hour.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENCE_S // 2)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENCE_S // 8)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_S * 1000)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((name, port))
        opened.listen()
    except OSError:
        opened.close()
        raise
    return opened


def _refusal(host: str, port: int, reason: str) -> InputError:
    return option_error(f"LIPSYNC_HOST, LIPSYNC_PORT: cannot listen at {host!r}, port {port}: {reason}.")
