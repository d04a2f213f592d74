"""Host names and addresses: which of them only this host can reach, and what a `Host` header names."""

from __future__ import annotations

import ipaddress
from typing import Final

LOOPBACK_NAMES: Final = frozenset({"localhost"})


def host_name(host: str) -> str:
    """Return the name or address in a `Host` header, without the port and the brackets of IPv6."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    return name.strip("[]").rstrip(".").lower()


def is_address(name: str) -> bool:
    """Return whether a name is an IP address in its usual form."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Return whether only this host can reach a service that listens there."""
    return name.lower() in LOOPBACK_NAMES or (is_address(name) and ipaddress.ip_address(name).is_loopback)
