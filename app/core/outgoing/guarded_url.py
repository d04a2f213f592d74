"""URLs that strangers send: parsed once and strictly; what was checked is what is used.

Two parsers that disagree about a URL are the classic way around a check. So whatever any parser could read in its own
way is refused (spaces, control characters, backslashes, `user@`, `%` in the host, numbers as hosts), and the request is
built from the checked parts, never from the text again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import idna

from app.core.errors import ErrorCode, InputError
from app.core.outgoing.addresses import LOOPBACK_V6, IPAddress
from app.core.outgoing.policy import OutgoingPolicy

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Unicode spaces, line ends and direction marks are refused with the ASCII ones: none belongs into a URL.
FORBIDDEN: Final = re.compile(
    r"[\x00-\x20\x7f-\xa0\\\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ud800-\udfff\ufeff\ufff0-\uffff]"
)
# Host, then port; the library would ignore what stands beside the brackets of an IPv6 address.
AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:%]+)(:[0-9]{0,5})?")
SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# The last label of what C libraries read as an IPv4 address in decimal, octal or hexadecimal; no domain ends so.
NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Characters of a path and query that stay as they are; `%`, because the sender has already encoded them.
PLAIN: Final = "!$%&'()*+,-./:;=?@_~[]"
MAX_HOST_CHARS: Final = 253
LOOPBACKS: Final = (IPv4Address("127.0.0.1"), LOOPBACK_V6)  # where all names below localhost lead (RFC 6761)


@dataclass(frozen=True)
class GuardedUrl:
    """A URL that passed all checks which need no lookup.

    host: ASCII, lower case, no final dot, no brackets. target: path and query, ASCII. address: the host if it is one.
    """

    scheme: str
    host: str
    port: int
    target: str
    address: IPAddress | None

    @property
    def authority(self) -> str:
        """Return the value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def blocked(sentence: str) -> InputError:
    """Return the error of an address that is refused."""
    return InputError(ErrorCode.URL_BLOCKED, sentence)


def not_public() -> InputError:
    """Return the error of an address whose host is, or leads to, what the policy does not permit."""
    return blocked("The address does not lead to a public host that this service may contact.")


def parse_url(text: str, policy: OutgoingPolicy) -> GuardedUrl:
    """Return a checked URL; raise InputError(url_blocked).

    Nothing is looked up. So a name can still lead to an address that is not permitted, which
    `app.core.outgoing.lookup` checks. A host that is itself such an address is refused here.
    """
    if policy.mode == "off":
        raise blocked("This service takes no addresses.")
    _check_characters(text, policy)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise blocked("The address is not a valid URL.") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise blocked("The address must begin with http:// or https://.")
    if "@" in parts.netloc:
        raise blocked("The address must not contain a user name or password.")
    port = DEFAULT_PORTS[parts.scheme] if port is None else port
    if port not in policy.ports:
        raise blocked("The address names a port that this service does not contact.")
    host, address = _canonical_host(parts)
    if not policy.takes_host(host):
        raise blocked("The host of the address is not on this service's list.")
    if not _may_lead_out(host, address, policy):
        raise not_public()
    target = quote(parts.path or "/", safe=PLAIN) + (f"?{quote(parts.query, safe=PLAIN)}" if parts.query else "")
    return GuardedUrl(parts.scheme, host, port, target, address)


def redirected(url: GuardedUrl, location: str, policy: OutgoingPolicy) -> GuardedUrl:
    """Return the checked URL to which a redirect leads; raise InputError(url_blocked), also from https to http.

    A location with a scheme must be whole: `http:film.mp4`, which some libraries read as relative, is refused.
    """
    _check_characters(location, policy)
    try:
        text = location if SCHEME.match(location) else urljoin(str(url), location)
    except ValueError:
        raise blocked("The address leads to another one that is not a valid URL.") from None
    target = parse_url(text, policy)
    if url.scheme == "https" and target.scheme != "https":
        raise blocked("The address leads from https to http.")
    return target


def _check_characters(text: str, policy: OutgoingPolicy) -> None:
    if len(text) > policy.max_url_chars:
        raise blocked(f"The address is longer than {policy.max_url_chars} characters.")
    if FORBIDDEN.search(text):
        raise blocked("The address contains spaces, control characters or backslashes; encode them.")


def _may_lead_out(host: str, address: IPAddress | None, policy: OutgoingPolicy) -> bool:
    """Tell whether a host can lead to a permitted address, as far as that is known without a lookup."""
    if address is not None:
        return policy.permits(address, host)
    is_local = host == "localhost" or host.endswith(".localhost")
    return not is_local or any(policy.permits(loopback, host) for loopback in LOOPBACKS)


def _canonical_host(parts: SplitResult) -> tuple[str, IPAddress | None]:
    """Return a host in ASCII and lower case, and the address if it is one."""
    invalid = blocked("The host of the address is not a valid name.")
    host = parts.hostname or ""
    if not AUTHORITY.fullmatch(parts.netloc) or len(host) > MAX_HOST_CHARS + 1:
        raise invalid
    try:
        if "[" in parts.netloc:
            v6 = IPv6Address(host)
            return str(v6), v6
        if not host.isascii():
            host = idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
        host = host.removesuffix(".")
        labels = host.split(".")
        if NUMBER.fullmatch(labels[-1]):
            v4 = IPv4Address(host)
            return str(v4), v4
    except ValueError:  # idna.IDNAError is one
        raise invalid from None
    if len(host) > MAX_HOST_CHARS or not all(LABEL.fullmatch(label) for label in labels):
        raise invalid
    return host, None
