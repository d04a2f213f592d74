"""Addresses and tricks that aim at this machine or its network: none may reach a server that is not opened to it."""

from __future__ import annotations

import socket
import time

import pytest

from app.core.errors import ErrorCode, InputError
from app.core.outgoing.fetch import fetch
from app.core.outgoing.send import send
from tests.app.core.outgoing.servers import GOOD, Canaries, Names, Server, client_for, ok, redirect

PUBLIC = "93.184.216.34"
# PORT is the port of servers on 127.0.0.1 and ::1 that count who connects.
ROWS = """
    http://127.0.0.1:PORT/ http://127.0.0.1.:PORT/ http://localhost:PORT/ http://localhost.:PORT/ http://LOCALHOST:PORT/
    http://127.1:PORT/ http://127.0.1:PORT/ http://2130706433:PORT/ http://017700000001:PORT/ http://0177.0.0.1:PORT/
    http://0177.0.0.01:PORT/ http://0x7f000001:PORT/ http://0x7f.0x0.0x0.0x1:PORT/ http://0X7F.1:PORT/
    http://0x7f.0.1:PORT/ http://00000177.1:PORT/ http://127.000.000.001:PORT/ http://4294967296:PORT/
    http://425.510.425.510:PORT/ http://0.0.0.0:PORT/ http://0:PORT/ http://127.255.255.254:PORT/
    http://[::1]:PORT/ http://[0:0:0:0:0:0:0:1]:PORT/ http://[::]:PORT/ http://[::127.0.0.1]:PORT/
    http://[::ffff:127.0.0.1]:PORT/ http://[::ffff:7f00:1]:PORT/ http://[::ffff:0:127.0.0.1]:PORT/
    http://[64:ff9b::127.0.0.1]:PORT/ http://[64:ff9b:1::7f00:1]:PORT/ http://[2002:7f00:1::]:PORT/
    http://[2001:0:7f00:1::]:PORT/ http://[2606:4700::5efe:127.0.0.1]:PORT/ http://[::1%25lo]:PORT/ http://[::1%lo]:PORT/
    http://[fe80::1%25lo]:PORT/ http://[fc00::1]:PORT/ http://[fec0::1]:PORT/ http://[ff02::1]:PORT/
    http://①②⑦.⓪.⓪.①:PORT/ http://１２７.0.0.1:PORT/ http://127。0。0。1:PORT/ http://127．0．0．1:PORT/
    http://127｡0｡0｡1:PORT/ http://ｌｏｃａｌｈｏｓｔ:PORT/ http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/ http://٠x7f.1:PORT/
    http://%6c%6f%63alhost:PORT/ http://127%2e0%2e0%2e1:PORT/ http://127.0.0.1%00.film.good.test:PORT/
    http://film.good.test@127.0.0.1:PORT/ http://film.good.test:80@127.0.0.1:PORT/ http://127.0.0.1:PORT@film.good.test/
    http://127.0.0.1:PORT\\@film.good.test/ http://film.good.test\\@127.0.0.1:PORT/ http:\\\\127.0.0.1:PORT/
    http://127.0.0.1:PORT#@film.good.test/ http://127.0.0.1:PORT?@film.good.test/ http:127.0.0.1:PORT/
    http:/127.0.0.1:PORT/ http:///127.0.0.1:PORT/ //127.0.0.1:PORT/ https://127.0.0.1:PORT/ https://localhost:PORT/
    ftp://127.0.0.1:PORT/ gopher://127.0.0.1:PORT/_GET dict://127.0.0.1:PORT/ ws://127.0.0.1:PORT/
    file:///etc/passwd file://127.0.0.1/etc/passwd unix:///var/run/docker.sock jar:http://127.0.0.1:PORT!/
    127.0.0.1:PORT http://10.0.0.1/ http://172.16.0.1/ http://192.168.0.1/ http://100.64.0.1/ http://198.18.0.1/ http://192.0.0.1/
    http://169.254.169.254/latest/meta-data/ http://2852039166/ http://0xa9fea9fe/ http://0251.0376.0251.0376/
    http://[::ffff:169.254.169.254]/ http://[::ffff:a9fe:a9fe]/ http://[64:ff9b::a9fe:a9fe]/ http://[fd00:ec2::254]/
    http://100.100.100.200/ http://168.63.129.16/ http://192.0.0.192/ http://224.0.0.1/ http://255.255.255.255/
    http://240.0.0.1/ http://192.88.99.1/ http://[2002:a00:1::]/ http://[2001:db8::1]/ http://127.0.0.1:22/
    http://127.0.0.1:0/ http://93.184.216.34:22/ http://93.184.216.34:6379/
"""
DIRECT = [
    *ROWS.split(),
    "http://film.good.test:PORT/\r\nHost: 127.0.0.1",
    "http://127.0.0.1:PORT /",
    "http://film.good.test 127.0.0.1:PORT/",
    "http://127.0.0.1\t:PORT/",
    "\nhttp://127.0.0.1:PORT/",
    "http://127.0.0\u00ad.1:PORT/",
    "http://127.0.0.1\u200b:PORT/",
    "http://127.0.0.1\u3000:PORT/",
]
# What the resolver answers for a stranger's name.
ANSWERS = [
    "127.0.0.1",
    "::1",
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "169.254.169.254",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "fe80::1%lo",
    "",
    f"{PUBLIC} 127.0.0.1",
    f"127.0.0.1 {PUBLIC}",
    f"{PUBLIC} 2606:4700::1111 ::1",
    f"{PUBLIC} 169.254.169.254",
]


@pytest.fixture
def canaries():
    with Canaries() as servers:
        yield servers


def blocked(client, address, tmp_path):
    with pytest.raises(InputError) as caught:
        fetch(client, address, tmp_path / "film", max_bytes=1000)
    assert list(tmp_path.iterdir()) == []
    return caught.value


def test_the_table_has_enough_rows():
    assert len(set(DIRECT)) == len(DIRECT) > 100


def test_no_address_reaches_a_refused_server(canaries, tmp_path):
    names = Names(localhost="127.0.0.1 ::1", film_good_test="127.0.0.1")
    client = client_for(canaries.port, names=names)
    for row in DIRECT:
        address = row.replace("PORT", str(canaries.port))
        assert blocked(client, address, tmp_path).code is ErrorCode.URL_BLOCKED, address
        with pytest.raises(InputError, match="url_blocked"):
            send(client, address, b"{}", {})
    assert canaries.connections == 0


@pytest.mark.parametrize("answer", ANSWERS)
def test_one_refused_answer_refuses_the_name(canaries, tmp_path, answer):
    names = Names(evil_test=answer)
    client = client_for(canaries.port, names=names)
    error = blocked(client, f"http://evil.test:{canaries.port}/", tmp_path)
    assert error.code is ErrorCode.URL_BLOCKED and canaries.connections == 0


def test_the_canaries_sing(canaries, tmp_path):
    """Proof that the tables above can fail: the same servers answer where the policy opens them."""
    fetched = fetch(client_for(canaries.port), f"http://{GOOD}:{canaries.port}/", tmp_path / "film", max_bytes=1000)
    assert fetched.size_bytes == 6 and canaries.connections == 1


def test_a_name_that_moves_inside_after_the_check_is_looked_up_once(canaries, tmp_path):
    """The first answer is what is contacted; a second, which leads to the canary, is never asked for."""
    names = Names(film_good_test="127.0.0.1 then ::1")
    with Server(ok(b"film")) as server:
        address = f"http://{GOOD}:{server.port}/"
        assert fetch(client_for(server.port, names=names), address, tmp_path / "film", max_bytes=9).size_bytes == 4
    assert names.lookups == [GOOD]


def test_a_broken_body_is_continued_at_the_address_of_the_first_lookup(tmp_path):
    names = Names(film_good_test="127.0.0.1 then 10.0.0.1")
    cut = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\nETag: "a"\r\n\r\nfour'
    rest = b"HTTP/1.1 206 Partial\r\nContent-Length: 4\r\nContent-Range: bytes 4-7/8\r\n\r\nmore"
    with Server(cut, rest) as server:
        fetch(client_for(server.port, names=names), f"http://{GOOD}:{server.port}/", tmp_path / "film", max_bytes=9)
        assert (tmp_path / "film").read_bytes() == b"fourmore" and names.lookups == [GOOD] and server.connections == 2


@pytest.mark.parametrize("then", ["127.0.0.1", "::1", "169.254.169.254", f"{PUBLIC} 127.0.0.1"])
def test_a_name_is_looked_up_anew_for_a_redirect(canaries, tmp_path, then):
    names = Names(film_good_test="127.0.0.1", evil_test=then)
    with Server(redirect(f"http://evil.test:{canaries.port}/")) as server:
        client = client_for(server.port, canaries.port, names=names)
        error = blocked(client, f"http://{GOOD}:{server.port}/", tmp_path)
    assert error.code is ErrorCode.URL_BLOCKED and canaries.connections == 0 and server.connections == 1


def test_no_redirect_reaches_a_refused_server(canaries, tmp_path):
    names = Names(localhost="127.0.0.1 ::1", film_good_test="127.0.0.1")
    # The last is a relative one; a header cannot hold line ends.
    rows = [row for row in DIRECT if row != "127.0.0.1:PORT" and not set("\r\n") & set(row)]
    locations = [row.replace("PORT", str(canaries.port)) for row in rows]
    with Server(*map(redirect, locations)) as server:
        client = client_for(server.port, canaries.port, names=names)
        for location in locations:
            code = blocked(client, f"http://{GOOD}:{server.port}/", tmp_path).code
            assert code in (ErrorCode.URL_BLOCKED, ErrorCode.URL_FETCH_FAILED), location
        assert canaries.connections == 0 and server.connections == len(locations)


def test_a_webhook_follows_no_redirect(canaries):
    with Server(redirect(f"http://127.0.0.1:{canaries.port}/", 307)) as server:
        answer = send(client_for(server.port), f"http://{GOOD}:{server.port}/", b"{}", {})
    assert answer.status == 307 and not answer.is_accepted and canaries.connections == 0


def test_no_proxy_is_taken_from_the_environment(canaries, tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canaries.port}")
    with Server(ok(b"film")) as server:
        fetch(client_for(server.port), f"http://{GOOD}:{server.port}/", tmp_path / "film", max_bytes=1000)
        assert server.connections == 1
    assert canaries.connections == 0


def test_a_refused_name_and_a_missing_one_look_alike(tmp_path):
    """Same code, same sentence, and neither comes sooner than the time that both must take."""

    def resolve(host):
        if host == "missing.test":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return names(host)

    names = Names(inner_test="10.0.0.1")
    client = client_for(names=resolve, refusal_s=0.3)
    seen = []
    for host in ("inner.test", "missing.test"):
        start = time.monotonic()
        error = blocked(client, f"http://{host}/", tmp_path)
        assert time.monotonic() - start >= 0.3
        seen.append((error.code, error.message))
    assert seen[0] == seen[1] and seen[0][0] is ErrorCode.URL_BLOCKED
    assert "10." not in seen[0][1]


def test_a_name_that_a_resolver_cannot_take_is_blocked(tmp_path):
    def resolve(host):
        return host.encode("idna") and socket.getaddrinfo("\ud800", None)

    assert blocked(client_for(names=resolve), "http://film.test/", tmp_path).code is ErrorCode.URL_BLOCKED
