"""What the service may contact on behalf of strangers, and how long and how much: two frozen dataclasses, handed in.

Nothing here is read from the environment and nothing is global, so URL inputs and webhooks can differ, and a test can
open a loopback server to itself without a switch in the production code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from app.core.outgoing.addresses import IPAddress, IPNetwork, embedded_ipv4, is_global, is_metadata

HOST_PATTERN: Final = re.compile(r"(\*\.)?[a-z0-9_:]([a-z0-9_.:-]*[a-z0-9_:])?")


@dataclass(frozen=True)
class OutgoingPolicy:
    """Hosts, ports and addresses that may be contacted.

    mode: `off` refuses all; `allow-list` takes only `hosts`; `public` takes every host.
    hosts: names in ASCII and lower case; `*.example.com` stands for all names below example.com, not for itself.
    trusted_networks: addresses that need not be global, but only for `hosts`; so a stranger's name never leads there.
        Link-local addresses and metadata services stay closed.
    """

    mode: Literal["off", "allow-list", "public"] = "off"
    hosts: tuple[str, ...] = ()
    ports: frozenset[int] = frozenset({80, 443})
    trusted_networks: tuple[IPNetwork, ...] = ()
    max_url_chars: int = 4096

    def __post_init__(self) -> None:
        for pattern in self.hosts:
            if not HOST_PATTERN.fullmatch(pattern):
                raise ValueError(f"host pattern {pattern!r} is neither a name in ASCII and lower case nor *.name")

    def lists(self, host: str) -> bool:
        """Tell whether a host (ASCII, lower case, no final dot) is one of `hosts`."""
        return any(
            host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern for pattern in self.hosts
        )

    def takes_host(self, host: str) -> bool:
        """Tell whether a host may be looked up at all."""
        return self.mode == "public" or (self.mode == "allow-list" and self.lists(host))

    def permits(self, address: IPAddress, host: str) -> bool:
        """Tell whether an address to which a host leads, and each IPv4 address inside it, may be contacted."""
        if is_metadata(address):
            return False
        is_trusted = self.lists(host) and any(address in network for network in self.trusted_networks)
        return is_global(address) or (is_trusted and all(self.permits(inner, host) for inner in embedded_ipv4(address)))


@dataclass(frozen=True)
class OutgoingLimits:
    """Bounds of one exchange, redirects and a second try included; the defaults are for media files.

    idle_s: longest wait for the next byte. refusal_s: shortest time before a name is refused, so that the time does not
    tell a name that leads inside from one that does not exist.
    """

    total_s: float = 600.0
    lookup_s: float = 10.0
    connect_s: float = 10.0
    idle_s: float = 20.0
    refusal_s: float = 1.0
    max_head_bytes: int = 32 * 1024
    max_redirects: int = 3
