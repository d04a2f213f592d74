"""Internet addresses: which are global, which IPv4 address an IPv6 address hides, and which no setting may open.

`ipaddress` alone is not enough. On Python 3.11 it calls multicast, the 6to4 relay, site-local addresses, and tunnels to
private IPv4 addresses global; and a cloud's metadata service can lie in a block that is public by registry. So an
address must be global by `ipaddress` and also lie outside `SPECIAL`. An IPv6 address must lie in 2000::/3, the only
block from which unicast addresses are assigned, and every IPv4 address inside it must be global as well.

Sources: IANA special-purpose address registries for IPv4 and IPv6; RFC 4291 (mapped, compatible), RFC 3056 (6to4),
RFC 4380 (Teredo), RFC 6052 and RFC 8215 (NAT64), RFC 5214 (ISATAP), RFC 2765 (translated); metadata addresses as AWS,
Azure, Google, Oracle and Alibaba document them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


def _networks(text: str) -> tuple[IPNetwork, ...]:
    return tuple(ip_network(word) for word in text.split())


# Link-local addresses and the metadata services of clouds: they hand out credentials, so trust by setting ends here.
METADATA: Final = _networks(
    "169.254.0.0/16 fe80::/10 fd00:ec2::/32 fd20:ce::254/128 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32"
)
# In the order of the address. Some are reachable by registry (AS112, AMT relays), but nobody keeps a film there.
SPECIAL: Final = METADATA + _networks(
    """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24
    192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24
    224.0.0.0/4 240.0.0.0/4
    2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3ffe::/16 3fff::/20"""
)
UNICAST_V6: Final = IPv6Network("2000::/3")
LOOPBACK_V6: Final = IPv6Address("::1")  # it hides no IPv4 address, although it lies among the compatible ones
# Blocks whose last 32 bits are an IPv4 address: compatible, mapped, translated, NAT64 (well-known and local).
HOLDS_IPV4_LAST: Final = tuple(
    IPv6Network(text) for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
# Bits 64 to 95 of an ISATAP address; its last 32 bits are an IPv4 address. The second form marks a global one.
ISATAP_MARKS: Final = (0x0000_5EFE, 0x0200_5EFE)


def embedded_ipv4(address: IPAddress) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses to which a tunnel or translator may carry what is sent to an IPv6 address."""
    if isinstance(address, IPv4Address) or address == LOOPBACK_V6:
        return ()
    found: list[IPv4Address] = []
    value = int(address)
    is_isatap = (value >> 32) & 0xFFFF_FFFF in ISATAP_MARKS
    if is_isatap or any(address in network for network in HOLDS_IPV4_LAST):
        found.append(IPv4Address(value & 0xFFFF_FFFF))
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found.extend(address.teredo)
    return tuple(found)


def is_global(address: IPAddress) -> bool:
    """Tell whether an address, and each IPv4 address inside it, is a public unicast address of the internet."""
    if any(address in network for network in SPECIAL) or not address.is_global:
        return False
    if isinstance(address, IPv6Address) and (address.scope_id is not None or address not in UNICAST_V6):
        return False
    return all(is_global(inner) for inner in embedded_ipv4(address))


def is_metadata(address: IPAddress) -> bool:
    """Tell whether an address, or an IPv4 address inside it, is link-local or a cloud's metadata service."""
    return any(address in network for network in METADATA) or any(map(is_metadata, embedded_ipv4(address)))
