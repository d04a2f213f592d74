from __future__ import annotations

import threading
import time

import pytest
from standardwebhooks.webhooks import Webhook

from app.core.errors import ErrorCode, InputError
from app.core.outgoing.policy import OutgoingPolicy
from app.core.outgoing.send import send
from app.core.outgoing.signatures import new_secret, signed_headers
from tests.app.core.outgoing.servers import GOOD, Server, client_for, ok

BODY = b'{"type": "job.succeeded"}'


def sent(server, headers=None, **limits):
    return send(client_for(server.port, **limits), f"http://{GOOD}:{server.port}/hook?a=b", BODY, headers or {})


def test_the_receiver_gets_what_was_signed():
    bodies = []

    def answer(connection, request):
        while not request.endswith(BODY):
            request += connection.recv(1000)
        bodies.append(request)
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    secret = new_secret()
    headers = {"Content-Type": "application/json", **signed_headers("evt_1", int(time.time()), BODY, [secret])}
    with Server(answer) as server:
        assert sent(server, headers).is_accepted
    head, body = bodies[0].split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[:2] == ["POST /hook?a=b HTTP/1.1", f"Host: {GOOD}:{server.port}"]
    received = dict(line.split(": ", 1) for line in lines[1:])
    assert received["Content-Length"] == str(len(BODY)) and received["Content-Type"] == "application/json"
    Webhook(secret).verify(body, received)


@pytest.mark.parametrize(
    ("head", "status", "retry_after_s"),
    [
        ("200 OK", 200, None),
        ("410 Gone", 410, None),
        ("302 Found\r\nLocation: /other", 302, None),
        ("500 Broken\r\nRetry-After: 30", 500, None),
        ("429 Slow\r\nRetry-After: 30", 429, 30),
        ("503 No\r\nRetry-After: Mon, 01 Jan 2024 00:00:00 GMT", 503, None),
        ("503 No\r\nRetry-After: 99999999999", 503, None),
        ("503 No\r\nRetry-After: -1", 503, None),
    ],
)
def test_any_status_is_an_answer(head, status, retry_after_s):
    with Server(f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode()) as server:
        answer = sent(server)
        assert server.connections == 1
    assert (answer.status, answer.retry_after_s) == (status, retry_after_s)
    assert answer.is_accepted is (status == 200)


def endless(connection, request):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(bytes(65536))


def drip(connection, request):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        connection.sendall(b"a")
        time.sleep(0.02)


@pytest.mark.parametrize(
    "answer", [endless, drip, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", ok(bytes(10**6))]
)
def test_a_body_that_is_long_slow_or_broken_does_not_matter(answer):
    with Server(answer) as server:
        start = time.monotonic()
        assert sent(server, total_s=0.4).status == 200
        assert time.monotonic() - start < 8


def test_a_silent_receiver_is_left():
    ended = threading.Event()
    with Server(lambda connection, request: ended.wait(10)) as server:  # type: ignore[arg-type]
        with pytest.raises(InputError) as caught:
            sent(server, idle_s=0.1)
        ended.set()
    assert caught.value.code is ErrorCode.URL_FETCH_FAILED


def test_a_check_ends_a_message():
    def check():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        send(client_for(), f"http://{GOOD}/", BODY, {}, check=check)


def test_off_sends_nothing():
    client = client_for()
    with pytest.raises(InputError, match="url_blocked"):
        send(type(client)(OutgoingPolicy(), client.limits, client.resolve), f"http://{GOOD}/", BODY, {})
