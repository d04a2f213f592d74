from __future__ import annotations

import ssl
from dataclasses import replace

import pytest
import trustme

from app.core.errors import ErrorCode, InputError
from app.core.outgoing.client import OutgoingClient
from app.core.outgoing.fetch import fetch
from app.core.outgoing.policy import OutgoingPolicy
from tests.app.core.outgoing.servers import GOOD, Names, Server, client_for, ok, redirect


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def served_by(authority, *names):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority, *ports, names=None, **limits):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return replace(client_for(*ports, names=names, **limits), ssl_context=context)


def test_the_certificate_is_checked_for_the_name_and_sni_names_it(authority, tmp_path):
    asked = []
    context = served_by(authority, GOOD)
    context.sni_callback = lambda connection, name, _: asked.append(name)
    with Server(ok(b"film"), tls=context) as server:
        fetch(trusting(authority, server.port), f"https://{GOOD}:{server.port}/", tmp_path / "film", max_bytes=9)
        assert asked == [GOOD] and server.requests[0].split(b"\r\n")[1] == f"Host: {GOOD}:{server.port}".encode()


@pytest.mark.parametrize("certified", ["other.good.test", "127.0.0.1", "*.test", "good.test"])
def test_a_certificate_for_another_name_is_refused(authority, tmp_path, certified):
    with Server(ok(b"film"), tls=served_by(authority, certified)) as server:
        with pytest.raises(InputError, match="certificate") as caught:
            fetch(trusting(authority, server.port), f"https://{GOOD}:{server.port}/", tmp_path / "film", max_bytes=9)
        assert caught.value.code is ErrorCode.URL_FETCH_FAILED and server.requests == []


def test_an_unknown_authority_is_refused(authority, tmp_path):
    with Server(ok(b"film"), tls=served_by(trustme.CA(), GOOD)) as server:
        with pytest.raises(InputError, match="certificate"):
            fetch(trusting(authority, server.port), f"https://{GOOD}:{server.port}/", tmp_path / "film", max_bytes=9)
        assert server.requests == []


def test_an_expired_certificate_is_refused(authority, tmp_path):
    import datetime

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    authority.issue_cert(GOOD, not_before=past, not_after=past + datetime.timedelta(1)).configure_cert(context)
    with Server(ok(b"film"), tls=context) as server, pytest.raises(InputError, match="certificate"):
        fetch(trusting(authority, server.port), f"https://{GOOD}:{server.port}/", tmp_path / "film", max_bytes=9)


def test_a_host_that_is_an_address_needs_a_certificate_for_it(authority, tmp_path):
    with Server(ok(b"film"), tls=served_by(authority, "127.0.0.1")) as server:
        client = trusting(authority, server.port, names=Names())
        client = replace(client, policy=replace(client.policy, hosts=("127.0.0.1",)))
        assert fetch(client, f"https://127.0.0.1:{server.port}/", tmp_path / "film", max_bytes=9).size_bytes == 4


def test_a_downgrade_is_refused(authority, tmp_path):
    with Server(ok(b"film")) as plain:
        answer = redirect(f"http://{GOOD}:{plain.port}/")
        with Server(answer, tls=served_by(authority, GOOD)) as server:
            client = trusting(authority, server.port, plain.port)
            with pytest.raises(InputError, match="https to http"):
                fetch(client, f"https://{GOOD}:{server.port}/", tmp_path / "film", max_bytes=9)
        assert plain.connections == 0


def cut_off(connection, request):
    """Answer without a length, and leave without TLS's farewell, as somebody on the way could make it look."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    raise OSError


def test_an_end_without_farewell_is_a_broken_connection(authority, tmp_path):
    with Server(cut_off, cut_off, tls=served_by(authority, GOOD)) as server:
        with pytest.raises(InputError, match="broke"):
            fetch(trusting(authority, server.port), f"https://{GOOD}:{server.port}/", tmp_path / "film", max_bytes=9)
        assert server.connections == 2


def test_a_server_without_tls_is_refused(authority, tmp_path):
    with Server(ok(b"film")) as server, pytest.raises(InputError, match="connection"):
        client = trusting(authority, server.port, connect_s=0.3)
        fetch(client, f"https://{GOOD}:{server.port}/", tmp_path / "film", max_bytes=9)


def test_the_default_client_checks_certificates():
    context = OutgoingClient(OutgoingPolicy()).ssl_context
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname and context.get_ca_certs()
