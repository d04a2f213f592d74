"""Connections to addresses that are already chosen: httpcore speaks HTTP and TLS, and nothing here resolves a name.

httpcore reads no environment (no proxy), keeps no cookies, follows no redirect and decodes no body. Its network backend
is the public place for what it lacks: the address to connect to, while Host header, SNI and certificate check keep the
name; waiting in short slices, so that a check can end it; and a bound on all bytes before the body.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any, TypeVar

import httpcore

from app.core.outgoing.addresses import IPAddress
from app.core.outgoing.deadline import Deadline

Value = TypeVar("Value")


class CertificateError(httpcore.ConnectError):
    """Certificate that is not valid for the host's name."""


class GuardedStream(httpcore.NetworkStream):
    """A connected socket whose reads end at the deadline, and whose bytes before the body are bounded."""

    def __init__(self, connected: socket.socket, deadline: Deadline, max_head_bytes: int) -> None:
        self._socket = connected
        self._deadline = deadline
        self._head_bytes_left: int | None = max_head_bytes

    def end_head(self) -> None:
        """Count no more: what is read from now on belongs to the body."""
        self._head_bytes_left = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next bytes, none at the end; raise httpcore's errors."""
        if self._head_bytes_left is not None:
            max_bytes = min(max_bytes, self._head_bytes_left)
            if max_bytes == 0:
                raise httpcore.RemoteProtocolError("the head of the answer is too large")
        receive = partial(self._socket.recv, max_bytes)
        data = self._retried(receive, timeout, httpcore.ReadTimeout, httpcore.ReadError)
        if self._head_bytes_left is not None:
            self._head_bytes_left -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all bytes; raise httpcore's errors."""
        left = memoryview(buffer)
        while left:
            send = partial(self._socket.send, left)
            sent = self._retried(send, timeout, httpcore.WriteTimeout, httpcore.WriteError)
            left = left[sent:]

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> GuardedStream:
        """Return this stream, encrypted, after the check of the certificate; raise CertificateError or ConnectError.

        An end without TLS's own farewell is an error, because anybody on the way can cut a body short like that.
        """
        try:
            encrypted = ssl_context.wrap_socket(
                self._socket,
                server_hostname=server_hostname,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
            self._socket = encrypted
            self._retried(encrypted.do_handshake, timeout, httpcore.ConnectTimeout, httpcore.ConnectError)
        except httpcore.ConnectError as error:
            self.close()
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise CertificateError from error
            raise
        except ValueError as error:  # a name that TLS cannot send
            self.close()
            raise httpcore.ConnectError from error
        except BaseException:
            self.close()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return a fact about the connection that httpcore asks for, None if unknown."""
        if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket
        return None

    def _retried(
        self,
        operation: Callable[[], Value],
        seconds: float | None,
        late: type[Exception],
        broken: type[Exception],
    ) -> Value:
        """Return what the operation returns, tried again in short slices until `seconds` have passed."""
        for wait_s in self._deadline.slices(float("inf") if seconds is None else seconds):
            self._socket.settimeout(wait_s)
            try:
                return operation()
            except TimeoutError:
                continue
            except (OSError, ValueError) as error:  # ValueError: TLS on a socket that is closed
                raise broken(str(error)) from error
        raise late


class PinnedBackend(httpcore.NetworkBackend):
    """The network of one exchange: whatever name httpcore asks for, only the chosen addresses are contacted."""

    def __init__(self, addresses: Sequence[IPAddress], deadline: Deadline, max_head_bytes: int) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._max_head_bytes = max_head_bytes
        self.stream: GuardedStream | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> GuardedStream:
        """Return a connection to the first address that accepts one; raise ConnectError or ConnectTimeout."""
        failure: httpcore.ConnectError | httpcore.ConnectTimeout = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                connected = connect(address, port, float("inf") if timeout is None else timeout, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            self.stream = GuardedStream(connected, self._deadline, self._max_head_bytes)
            return self.stream
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> GuardedStream:
        """Refuse: no stranger's address leads to a file."""
        raise httpcore.ConnectError("no sockets of the file system")


def connect(address: IPAddress, port: int, seconds: float, deadline: Deadline) -> socket.socket:
    """Return a socket that is connected to this very address; raise ConnectError or ConnectTimeout."""
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    try:
        connecting = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:  # no IPv6 on this host
        raise httpcore.ConnectError(str(error)) from error
    try:
        _finish_connect(connecting, (str(address), port), seconds, deadline)
        if ip_address(connecting.getpeername()[0]) != address:
            raise httpcore.ConnectError("the system chose another address")
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        connecting.close()
        raise httpcore.ConnectError(str(error)) from error
    except BaseException:
        connecting.close()
        raise
    return connecting


def _finish_connect(connecting: socket.socket, target: tuple[str, int], seconds: float, deadline: Deadline) -> None:
    connecting.setblocking(False)
    code = connecting.connect_ex(target)
    if code == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(connecting, select.POLLOUT)
        for wait_s in deadline.slices(seconds):
            if poll.poll(wait_s * 1000):
                break
        else:
            raise httpcore.ConnectTimeout
        code = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code != 0:
        raise OSError(code, os.strerror(code))
