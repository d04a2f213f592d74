from __future__ import annotations

import gzip
import hashlib
import socket
import threading
import time

import pytest

from app.core.errors import ErrorCode, InputError
from app.core.outgoing.fetch import fetch
from tests.app.core.outgoing.servers import GOOD, Names, Server, client_for, ok, redirect

BODY = bytes(range(256)) * 40
SIZE = len(BODY)
HALF = SIZE // 2
REST = f"bytes {HALF}-{SIZE - 1}/{SIZE}"
FOREVER = b"HTTP/1.1 200 OK\r\n\r\n"


def fetched(server, path, *, max_bytes=100_000, check=lambda: None, **limits):
    return fetch(
        client_for(server.port, **limits),
        f"http://{GOOD}:{server.port}/film.mp4",
        path,
        max_bytes=max_bytes,
        check=check,
    )


def refused(server, path, **arguments):
    """Return the error of a download, which must leave the old file as it was and nothing beside it."""
    path.write_bytes(b"old")
    with pytest.raises(InputError) as caught:
        fetched(server, path, **arguments)
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]
    return caught.value


def cut(*headers, total=SIZE, sent=HALF):
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {total}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + BODY[:sent]


def rest(content_range=REST, *headers, body=BODY[HALF:]):
    lines = [
        "HTTP/1.1 206 Partial Content",
        f"Content-Length: {len(body)}",
        f"Content-Range: {content_range}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(*chunks):
    parts = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts) + b"0\r\n\r\n"


ETAG = 'ETag: "one"'


@pytest.mark.parametrize(
    "answer",
    [
        ok(BODY),
        chunked(BODY[:7], BODY[7:]),
        FOREVER + BODY,
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok(BODY),
        ok(BODY, "Content-Encoding: identity"),
    ],
)
def test_a_file_arrives_whole(tmp_path, answer):
    with Server(answer) as server:
        result = fetched(server, tmp_path / "film")
    assert (tmp_path / "film").read_bytes() == BODY and list(tmp_path.iterdir()) == [tmp_path / "film"]
    assert result.size_bytes == SIZE and result.sha256 == hashlib.sha256(BODY).hexdigest()


def test_the_request_says_no_more_than_it_must(tmp_path):
    with Server(ok(BODY, "Set-Cookie: a=b", "Content-Type: video/mp4")) as server:
        assert fetched(server, tmp_path / "film").content_type == "video/mp4"
        fetched(server, tmp_path / "film")
        for request in server.requests:
            lines = request.decode().split("\r\n")
            assert lines[:2] == ["GET /film.mp4 HTTP/1.1", f"Host: {GOOD}:{server.port}"]
            assert {line.split(":")[0] for line in lines[2:] if line} == {
                "User-Agent",
                "Accept",
                "Accept-Encoding",
                "Connection",
            }
            assert "Accept-Encoding: identity" in lines


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(tmp_path, status):
    def to_third(connection, request):
        connection.sendall(redirect(f"//{GOOD}:{connection.getsockname()[1]}/third"))

    with Server(redirect("/other", status), to_third, ok(BODY)) as server:
        assert fetched(server, tmp_path / "film").size_bytes == SIZE
        assert [request.split()[1] for request in server.requests] == [b"/film.mp4", b"/other", b"/third"]


def test_the_fourth_redirect_is_not_followed(tmp_path):
    with Server(redirect("/film.mp4")) as server:
        assert refused(server, tmp_path / "film").code is ErrorCode.URL_FETCH_FAILED
        assert server.connections == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\xff\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 No\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        rest(),
        b"",
        b"HTTP/1.1",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"+OK redis\r\n$5\r\n",
        b"<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 40_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 8_000 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000 + ok(BODY),
    ],
)
def test_what_is_no_file_is_refused(tmp_path, answer):
    with Server(answer) as server:
        error = refused(server, tmp_path / "film")
    assert error.code is ErrorCode.URL_FETCH_FAILED and error.facts.retryable


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "x-gzip", "identity, gzip"])
def test_a_compressed_body_is_refused_unread(tmp_path, encoding):
    bomb = gzip.compress(bytes(10_000_000))
    with Server(ok(bomb, f"Content-Encoding: {encoding}")) as server:
        assert "compressed" in refused(server, tmp_path / "film").message


def endless(connection, request):
    connection.sendall(FOREVER)
    while True:
        connection.sendall(bytes(65536))


def endless_chunks(connection, request):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1\r\na\r\n" * 1000)


@pytest.mark.parametrize(
    "answer",
    [cut(total=100_001), cut(total=10**15), endless, chunked(bytes(100_001)), FOREVER + bytes(100_001)],
)
def test_a_file_that_is_too_large_is_refused(tmp_path, answer):
    with Server(answer) as server:
        error = refused(server, tmp_path / "film")
        assert server.connections == 1
    assert error.code is ErrorCode.INPUT_TOO_LARGE and "100000" in error.message


def test_a_file_of_just_the_allowed_size_arrives(tmp_path):
    with Server(ok(BODY)) as server:
        assert fetched(server, tmp_path / "film", max_bytes=SIZE).size_bytes == SIZE


def test_a_file_in_tiny_pieces_is_refused(tmp_path):
    with Server(endless_chunks) as server:
        assert "small pieces" in refused(server, tmp_path / "film").message


def drip(first):
    def answer(connection, request):
        connection.sendall(first)
        while True:
            connection.sendall(b"a")
            time.sleep(0.02)

    return answer


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nA: ", FOREVER, cut(ETAG, sent=0)])
def test_a_slow_drip_ends_with_the_total_time(tmp_path, first):
    with Server(drip(first)) as server:
        start = time.monotonic()
        error = refused(server, tmp_path / "film", total_s=0.3)
        assert 0.3 <= time.monotonic() - start < 8
    assert error.code is ErrorCode.URL_FETCH_FAILED and "too long" in error.message


def silent(first, ended):
    def answer(connection, request):
        connection.sendall(first)
        ended.wait(10)

    return answer


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200", cut(ETAG)])
def test_a_host_that_falls_silent_is_left(tmp_path, first):
    ended = threading.Event()
    with Server(silent(first, ended)) as server:
        assert refused(server, tmp_path / "film", idle_s=0.1).code is ErrorCode.URL_FETCH_FAILED
        ended.set()


@pytest.mark.parametrize("first", [b"", cut()])
def test_a_check_that_raises_ends_a_silent_download(tmp_path, first):
    ended, cancel = threading.Event(), threading.Event()

    def check():
        if cancel.is_set():
            raise InterruptedError

    with Server(silent(first, ended)) as server:
        threading.Timer(0.1, cancel.set).start()
        with pytest.raises(InterruptedError):
            fetched(server, tmp_path / "film", idle_s=30.0, total_s=30.0, check=check)
        ended.set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ([ETAG], '"one"'),
        ([ETAG, "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"], '"one"'),
        (
            ["Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT", "Date: Mon, 01 Jan 2024 00:00:09 GMT"],
            "Mon, 01 Jan 2024 00:00:00 GMT",
        ),
    ],
)
def test_a_broken_download_goes_on_where_it_stopped(tmp_path, headers, validator):
    with Server(cut(*headers), rest()) as server:
        result = fetched(server, tmp_path / "film")
        assert (tmp_path / "film").read_bytes() == BODY and result.sha256 == hashlib.sha256(BODY).hexdigest()
        assert f"Range: bytes={HALF}-\r\nIf-Range: {validator}\r\n".encode() in server.requests[1]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ['ETag: W/"one"'],
        ["ETag: one"],
        ["Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"],
        ["Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT", "Date: Mon, 01 Jan 2024 00:00:00 GMT"],
        ["Last-Modified: once", "Date: Mon, 01 Jan 2024 00:00:00 GMT"],
        ["Last-Modified: Mon, 01 Jan 2024 00:00:00", "Date: Mon, 01 Jan 2024 00:00:09 GMT"],
    ],
)
def test_without_a_strong_validator_it_starts_again(tmp_path, headers):
    with Server(cut(*headers), ok(BODY)) as server:
        fetched(server, tmp_path / "film")
        assert (tmp_path / "film").read_bytes() == BODY and b"Range" not in server.requests[1]


def test_a_file_that_changed_is_taken_from_its_first_byte(tmp_path):
    new = b"new" * 100
    with Server(cut(ETAG, "Content-Type: video/mp4"), ok(new, 'ETag: "two"')) as server:
        result = fetched(server, tmp_path / "film")
    assert (tmp_path / "film").read_bytes() == new and result.size_bytes == 300 and result.content_type is None
    assert result.sha256 == hashlib.sha256(new).hexdigest()


@pytest.mark.parametrize(
    "answer",
    [
        rest(f"bytes {HALF + 1}-{SIZE - 1}/{SIZE}"),
        rest(f"bytes 0-{SIZE - 1}/{SIZE}"),
        rest(f"bytes {HALF}-{SIZE - 2}/{SIZE}"),
        rest(f"bytes {HALF}-{SIZE}/{SIZE + 1}", body=BODY[HALF:] + b"a"),
        rest(f"bytes {HALF}-{SIZE - 1}/*"),
        rest("bytes */100"),
        rest(f"items {HALF}-{SIZE - 1}/{SIZE}"),
        rest(REST, body=BODY[HALF:-1]),
        rest(REST, body=BODY[HALF:] + b"a"),
        rest(REST, 'ETag: "two"'),
        rest(REST, "Content-Encoding: gzip"),
        rest(REST, f"Content-Range: bytes 0-1/{SIZE}"),
        b"HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=a\r\nContent-Length: 1\r\n\r\n-",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (HALF, SIZE - 1, SIZE)
        + BODY[HALF:-1],
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (HALF, SIZE - 1, SIZE)
        + BODY[HALF:]
        + b"a",
        b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n",
        redirect("/elsewhere"),
        cut(ETAG),
        b"",
    ],
)
def test_a_rest_that_is_not_exactly_the_rest_is_refused(tmp_path, answer):
    with Server(cut(ETAG), answer) as server:
        assert refused(server, tmp_path / "film").code is ErrorCode.URL_FETCH_FAILED
        assert server.connections == 2


def test_a_rest_that_makes_the_file_too_large_is_refused(tmp_path):
    first = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "one"\r\n\r\n5\r\n12345\r\n'
    huge = b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 5-999999/1000000\r\nContent-Length: 999995\r\n\r\n"
    with Server(first, huge) as server:
        assert refused(server, tmp_path / "film").code is ErrorCode.INPUT_TOO_LARGE


def test_a_lookup_that_hangs_is_left(tmp_path):
    ended = threading.Event()

    def resolve(host):
        ended.wait(10)
        return []

    with pytest.raises(InputError, match="url_fetch_failed"):
        fetch(client_for(names=resolve, lookup_s=0.1), f"http://{GOOD}/", tmp_path / "film", max_bytes=1)
    ended.set()


def test_a_resolver_that_does_not_answer_now_can_be_tried_again(tmp_path):
    def resolve(host):
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    with pytest.raises(InputError) as caught:
        fetch(client_for(names=resolve), f"http://{GOOD}/", tmp_path / "film", max_bytes=1)
    assert caught.value.code is ErrorCode.URL_FETCH_FAILED and caught.value.facts.retryable


def test_the_next_address_is_tried_where_one_refuses(tmp_path):
    names = Names(film_good_test="127.0.0.2 127.0.0.1")
    with Server(ok(BODY)) as server:
        client = client_for(server.port, names=names, networks="127.0.0.0/30")
        assert fetch(client, f"http://{GOOD}:{server.port}/", tmp_path / "film", max_bytes=100_000).size_bytes
        assert server.requests[0].split(b"\r\n")[1] == f"Host: {GOOD}:{server.port}".encode()


def test_nobody_listens(tmp_path):
    with Server() as server:
        pass
    error = refused(server, tmp_path / "film")
    assert error.code is ErrorCode.URL_FETCH_FAILED and "accept" in error.message


def test_a_full_backlog_ends_with_the_time_to_connect(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.socket() as first,
        socket.socket() as second,
    ):
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        with pytest.raises(InputError, match="accept"):
            client = client_for(port, connect_s=0.2)
            fetch(client, f"http://{GOOD}:{port}/", tmp_path / "film", max_bytes=1)


def test_an_error_of_the_disk_is_no_fault_of_the_host(tmp_path):
    with Server(ok(BODY)) as server, pytest.raises(FileNotFoundError):
        fetched(server, tmp_path / "missing" / "film")
