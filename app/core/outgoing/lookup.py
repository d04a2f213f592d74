"""From a host to the addresses that may be contacted: one lookup, and one refused address refuses all.

A host that leads inside and one that does not exist get the same answer, after the same time, so that nobody can ask
this service for a map of its network.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from ipaddress import ip_address
from threading import Thread

from app.core.errors import ErrorCode, InputError
from app.core.outgoing.addresses import IPAddress
from app.core.outgoing.deadline import Deadline
from app.core.outgoing.guarded_url import GuardedUrl, not_public
from app.core.outgoing.policy import OutgoingLimits, OutgoingPolicy

# Takes a host name (ASCII); returns its addresses; raises OSError.
Resolver = Callable[[str], Sequence[IPAddress]]


def system_addresses(host: str) -> list[IPAddress]:
    """Return the addresses of a host by the resolver of the system; raise OSError."""
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [ip_address(str(answer[4][0])) for answer in answers]


def permitted_addresses(
    url: GuardedUrl, policy: OutgoingPolicy, limits: OutgoingLimits, resolve: Resolver, deadline: Deadline
) -> tuple[IPAddress, ...]:
    """Return the addresses of a URL's host, at least one, all permitted, each once, in the resolver's order.

    Raise InputError: url_blocked if there is none or one is not permitted, url_fetch_failed if the lookup itself fails.
    """
    if url.address is not None:
        return _all_permitted([url.address], url, policy)
    start_s = time.monotonic()
    try:
        return _all_permitted(_looked_up(url.host, resolve, limits.lookup_s, deadline), url, policy)
    except InputError:
        for wait_s in deadline.slices(start_s + limits.refusal_s - time.monotonic()):
            time.sleep(wait_s)
        raise


def _all_permitted(addresses: Sequence[IPAddress], url: GuardedUrl, policy: OutgoingPolicy) -> tuple[IPAddress, ...]:
    if not addresses or not all(policy.permits(address, url.host) for address in addresses):
        raise not_public()
    return tuple(dict.fromkeys(addresses))


def _looked_up(host: str, resolve: Resolver, seconds: float, deadline: Deadline) -> Sequence[IPAddress]:
    """Return what the resolver answers within `seconds`, nothing if the host does not exist.

    `getaddrinfo` knows no time limit, so it runs in a thread of its own that is left behind when it takes too long.
    """
    answer: Future[Sequence[IPAddress]] = Future()

    def look_up() -> None:
        try:
            answer.set_result(resolve(host))
        except (OSError, ValueError) as error:  # ValueError: names that `getaddrinfo` cannot encode
            answer.set_exception(error)

    Thread(target=look_up, name="lookup", daemon=True).start()
    for wait_s in deadline.slices(seconds):
        try:
            return answer.result(wait_s)
        except TimeoutError:
            if answer.done():
                break
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                break
            return ()
        except (OSError, ValueError):
            return ()
    raise InputError(ErrorCode.URL_FETCH_FAILED, "The host of the address could not be looked up in time.")
