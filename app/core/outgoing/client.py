"""The guarded client: one place where a request leaves for an address that a stranger has named."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import httpcore
import httpx

from app.core.errors import ErrorCode, InputError
from app.core.outgoing.addresses import IPAddress
from app.core.outgoing.connection import CertificateError, PinnedBackend
from app.core.outgoing.deadline import Deadline
from app.core.outgoing.guarded_url import GuardedUrl, parse_url, redirected
from app.core.outgoing.lookup import Resolver, permitted_addresses, system_addresses
from app.core.outgoing.policy import OutgoingLimits, OutgoingPolicy
from app.core.version import service_version

# A body that did not arrive whole: the same request can be tried again.
BROKEN: Final = (httpcore.NetworkError, httpcore.ReadTimeout, httpcore.RemoteProtocolError)


@dataclass(frozen=True)
class Destination:
    """A checked URL with the addresses to which its host led when it was looked up, the only time."""

    url: GuardedUrl
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True)
class OutgoingClient:
    """Policy, limits, resolver and trusted certificates of all requests of one kind; safe for many threads.

    The certificates are certifi's, or those that SSL_CERT_FILE or SSL_CERT_DIR name.
    """

    policy: OutgoingPolicy
    limits: OutgoingLimits = field(default_factory=OutgoingLimits)
    resolve: Resolver = system_addresses
    ssl_context: ssl.SSLContext = field(default_factory=httpx.create_ssl_context)

    def destination(self, address: str, deadline: Deadline) -> Destination:
        """Return where a URL leads; raise InputError(url_blocked) or InputError(url_fetch_failed)."""
        return self._looked_up(parse_url(address, self.policy), deadline)

    def next_destination(self, before: Destination, location: str, deadline: Deadline) -> Destination:
        """Return where a redirect leads, checked and looked up anew; raise as `destination` does."""
        return self._looked_up(redirected(before.url, location, self.policy), deadline)

    def _looked_up(self, url: GuardedUrl, deadline: Deadline) -> Destination:
        return Destination(url, permitted_addresses(url, self.policy, self.limits, self.resolve, deadline))

    @contextmanager
    def exchange(
        self,
        destination: Destination,
        deadline: Deadline,
        headers: Mapping[str, str],
        content: bytes | None = None,
    ) -> Iterator[httpcore.Response]:
        """Send one request, POST if there is a content, else GET; yield the answer, its body not yet read.

        Raise InputError(url_fetch_failed) for all that goes wrong up to the head of the answer. Errors of the body are
        httpcore's, or DeadlineError.
        """
        url, limits = destination.url, self.limits
        backend = PinnedBackend(destination.addresses, deadline, limits.max_head_bytes)
        scheme, host = url.scheme.encode(), url.host.encode()
        origin = httpcore.Origin(scheme, host, url.port)
        request = httpcore.Request(
            b"GET" if content is None else b"POST",
            httpcore.URL(scheme=scheme, host=host, port=url.port, target=url.target.encode()),
            headers=[
                (b"Host", url.authority.encode()),
                (b"User-Agent", f"lipsync-service/{service_version()}".encode()),
                (b"Accept-Encoding", b"identity"),
                (b"Connection", b"close"),
                *((name.encode(), value.encode()) for name, value in headers.items()),
                *([] if content is None else [(b"Content-Length", str(len(content)).encode())]),
            ],
            content=content,
            extensions={
                "timeout": {"connect": limits.connect_s, "read": limits.idle_s, "write": limits.idle_s},
            },
        )
        with httpcore.HTTPConnection(origin, self.ssl_context, network_backend=backend) as connection:
            with named_failures():
                response = connection.handle_request(request)
            if backend.stream is not None:
                backend.stream.end_head()
            try:
                yield response
            finally:
                response.close()


@contextmanager
def named_failures() -> Iterator[None]:
    """Turn httpcore's errors into InputError(url_fetch_failed), without their texts."""
    try:
        yield
    except CertificateError:
        raise fetch_failed("The certificate of the host is not valid for its name.") from None
    except (httpcore.ConnectError, httpcore.ConnectTimeout):
        raise fetch_failed("The host of the address does not accept a connection.") from None
    except httpcore.TimeoutException:
        raise fetch_failed("The host of the address took too long.") from None
    except httpcore.NetworkError:
        raise fetch_failed("The host of the address broke the connection.") from None
    except httpcore.ProtocolError:
        raise fetch_failed("The host of the address does not answer in valid HTTP.") from None


def fetch_failed(sentence: str) -> InputError:
    """Return the error of an address that is allowed but gave nothing usable."""
    return InputError(ErrorCode.URL_FETCH_FAILED, sentence)
