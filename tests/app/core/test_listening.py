from __future__ import annotations

import socket

import pytest

from app.core.errors import InputError
from app.core.listening import SILENCE_S, listening_sockets


def closed(sockets):
    addresses = [opened.getsockname() for opened in sockets]
    for opened in sockets:
        opened.close()
    return addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_free_port_is_the_same_for_all_addresses_of_a_host(host):
    addresses = closed(listening_sockets(host, 0))
    assert len({address[1] for address in addresses}) == 1 and addresses[0][1] > 0
    assert closed(listening_sockets(host, addresses[0][1])) == addresses, "free again at once"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("203.0.113.7", "no network interface"),
        ("256.0.0.1", "no such name"),
        ("no.such.host.invalid", "no such name"),
        ("", "no such name"),
        ("a" * 300, "no such name"),
        ("127.0.0.1:80", "no such name"),
    ],
)
def test_a_host_that_cannot_be_used(host, said):
    with pytest.raises(InputError, match=said):
        listening_sockets(host, 0)


@pytest.mark.parametrize("first", ["127.0.0.1", "0.0.0.0"])
def test_a_busy_port(first):
    with socket.create_server((first, 0)) as server, pytest.raises(InputError, match="another program"):
        listening_sockets("127.0.0.1", server.getsockname()[1])


def test_connections_notice_a_client_that_vanished_and_send_at_once():
    (server,) = listening_sockets("127.0.0.1", 0)
    with server, socket.create_connection(server.getsockname()), server.accept()[0] as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == SILENCE_S * 1000
        assert accepted.proto == socket.IPPROTO_TCP, "else asyncio leaves Nagle's delay on"
