"""The two guarded clients of the API: one for URL inputs, one for webhooks.

Webhooks may go to every public host. Hosts that LIPSYNC_WEBHOOK_HOSTS lists may also have private addresses, because
the receiver often runs beside the service. URL inputs follow LIPSYNC_URL_INPUTS and never lead to a private address.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from app.core.errors import naming
from app.core.outgoing.client import OutgoingClient
from app.core.outgoing.guarded_url import parse_url
from app.core.outgoing.policy import OutgoingLimits, OutgoingPolicy
from app.core.outgoing.send import SEND_LIMITS
from app.core.settings import Settings

PRIVATE_NETWORKS: Final = tuple(
    ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
WEBHOOK_HINT: Final = (
    "Name an http or https address on a public host. LIPSYNC_WEBHOOK_HOSTS opens hosts with private addresses, and "
    "LIPSYNC_OUTGOING_PORTS other ports."
)


def url_client(settings: Settings) -> OutgoingClient:
    """Return the client for URL inputs; raises ValueError for a malformed host pattern."""
    ports = frozenset(settings.outgoing_ports)
    policy = OutgoingPolicy(settings.url_inputs, settings.url_hosts, ports)
    return OutgoingClient(policy, OutgoingLimits(total_s=settings.url_timeout_s))


def webhook_client(settings: Settings) -> OutgoingClient:
    """Return the client for webhooks; raises ValueError for a malformed host pattern."""
    ports = frozenset(settings.outgoing_ports)
    policy = OutgoingPolicy("public", settings.webhook_hosts, ports, trusted_networks=PRIVATE_NETWORKS)
    return OutgoingClient(policy, SEND_LIMITS)


def check_webhook_url(url: str, policy: OutgoingPolicy, place: str) -> None:
    """Raise InputError(url_blocked) for an address that can never be called; its message begins with the place."""
    with naming(place, WEBHOOK_HINT):
        parse_url(url, policy)
