"""Slow, idle and vanished clients on real sockets; every limit is small here."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing

import httpx
import pytest

from app.connections import MAX_CONNECTIONS, ConnectionLimits, most_connections
from app.uploads import UploadPace
from tests.app.routes.test_jobs import assert_problem, folders
from tests.conftest import ROOT
from tests.service import wait_until

MAX_LISTENERS = 200
LIMITS = ConnectionLimits(most=20, request_s=0.4, answer_s=0.4)
PACE = UploadPace(window_s=0.4, window_bytes=1000)
KIND = b"Content-Type: multipart/form-data; boundary=b\r\n"
UPLOAD = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\n" + KIND + b"Content-Length: 90000\r\n\r\n"
LAST = UPLOAD.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
PART = b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n'
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def service(make_service):
    return make_service(limits=LIMITS, outside={"pace": PACE})


def dial(service, sent=b""):
    connection = socket.create_connection(("127.0.0.1", service.server.port), timeout=30)
    connection.sendall(sent)
    return connection


def answer_of(connection):
    """Return status, headers and body of all that comes until the server closes the connection."""
    received = b""
    try:
        while block := connection.recv(65536):
            received += block
    except ConnectionResetError:
        pass
    head, _, body = received.partition(b"\r\n\r\n")
    return head.decode(), body


def assert_told(connection, status, code):
    head, body = answer_of(connection)
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "application/problem+json" in head and json.loads(body)["code"] == code
    assert json.loads(body)["request_id"] in head
    assert json.loads(body)["retryable"] == (status not in (400, 422))


SILENT = [
    ("nothing is sent", b"", None),
    ("half a request line", b"GET /heal", 408),
    ("half a header", HEALTH, 408),
    ("an answer, then nothing", HEALTH + b"\r\n", 200),
    ("an answer, then half a header", HEALTH + b"\r\n" + HEALTH, 200),
    ("a body that nobody reads and that does not come", HEALTH + b"Content-Length: 9\r\n\r\n", 200),
    ("an upload of which nothing comes", UPLOAD, 408),
    ("an upload that stops", UPLOAD + PART, 408),
]


def test_silent_connections_are_closed(service):
    with ExitStack() as opened:
        connections = [opened.enter_context(closing(dial(service, sent))) for _, sent, _ in SILENT]
        for (kind, _, status), connection in zip(SILENT, connections, strict=True):
            head, body = answer_of(connection)
            assert head.startswith(f"HTTP/1.1 {status} ") if status else head == "", kind
            assert status != 408 or (
                json.loads(body)["retryable"] and "without long pauses" in json.loads(body)["hint"]
            )
    wait_until(lambda: folders(service) == [] and service.server.connections == 0, 5)


TRICKLES = [
    ("a header", HEALTH + b"X-Slow: "),
    ("a header after an answer", HEALTH + b"\r\n" + HEALTH + b"X-Slow: "),
    ("a body that nobody reads", HEALTH + b"Content-Length: 90000\r\n\r\n"),
    ("an upload", UPLOAD + PART),
]


def test_connections_that_trickle_are_closed(service):
    with ExitStack() as opened:
        left = {kind: opened.enter_context(closing(dial(service, sent))) for kind, sent in TRICKLES}
        deadline = time.monotonic() + 60
        while left and time.monotonic() < deadline:
            for kind, connection in list(left.items()):
                try:
                    connection.sendall(b"x")
                except OSError:
                    del left[kind]
            time.sleep(0.05)
        assert not left
    wait_until(lambda: folders(service) == [] and service.server.connections == 0, 5)


def test_a_connection_that_is_used_stays(make_service):
    service = make_service(limits=ConnectionLimits(request_s=1.0))
    with closing(dial(service)) as connection:
        for _ in range(5):  # together longer than one wait may take
            connection.sendall(HEALTH[:20])
            time.sleep(0.25)
            connection.sendall(HEALTH[20:] + b"\r\n")
            answer = b""
            while not answer.endswith(b'alive"}'):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_client_that_takes_nothing_of_its_answer_is_left(service):
    with closing(dial(service)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            for _ in range(3000):  # each answer has many thousand bytes; the buffers of the system hold some millions
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
                time.sleep(0.001)
    wait_until(lambda: service.server.connections == 0, 5)


def test_garbage_is_a_problem(service):
    with closing(dial(service, b"\x16\x03\x01 no HTTP\r\n\r\n")) as connection:
        assert_told(connection, 400, "option_invalid")


def test_idle_connections_and_uploads_keep_nobody_out(make_service):
    service = make_service(limits=ConnectionLimits(most=20, request_s=60))
    with ExitStack() as idle:
        kinds = [b"", HEALTH, UPLOAD, UPLOAD + PART]
        sockets = [idle.enter_context(closing(dial(service, kinds[number % 4]))) for number in range(60)]
        wait_until(lambda: service.server.connections == 20, 5)
        assert service.post().status_code == 202
        assert [answer_of(connection)[0] for connection in sockets[:30]] == [""] * 30, "the longest waits are closed"


def test_an_upload_that_goes_on_is_not_closed_for_a_new_connection(make_service):
    service = make_service(limits=ConnectionLimits(most=5, request_s=60))
    with ExitStack() as others, closing(dial(service, LAST + PART)) as upload:
        for _ in range(40):
            others.enter_context(closing(dial(service, UPLOAD + PART)))
            upload.sendall(b"x")
            assert service.http.get("/healthz").status_code == 200  # the server has seen all of that
        end = b"\r\n--b--\r\n"
        upload.sendall(end + b" " * (90_000 - len(PART + end) - 40))
        assert_told(upload, 422, "option_invalid")


def test_connections_beyond_the_limit_are_refused_while_all_are_at_work(make_service):
    service = make_service(limits=ConnectionLimits(most=3, request_s=60))
    job_id = service.post().json()["id"]
    service.http.close()
    with ExitStack() as held:
        for _ in range(3):
            request = f"GET /jobs/{job_id}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            held.enter_context(closing(dial(service, request)))
        wait_until(lambda: service.services.listeners.count == 3, 10)
        with closing(dial(service)) as late:
            assert_told(late, 503, "queue_full")
    wait_until(lambda: service.services.listeners.count == 0, 10)
    assert httpx.get(f"{service.url}/healthz").status_code == 200


def test_listeners_that_leave_are_forgotten(make_service):
    service = make_service(max_listeners=MAX_LISTENERS)
    job_id = service.post().json()["id"]
    half = MAX_LISTENERS // 2 + 1
    for path in ("?wait=60", "/events", "?wait=60"):  # any two are more than there are connections to Redis
        request = f"GET /jobs/{job_id}{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        with ExitStack() as held:
            for _ in range(half):
                held.enter_context(closing(dial(service, request)))
            wait_until(lambda: service.services.listeners.count == half, 20)
        wait_until(lambda: service.services.listeners.count == 0, 10)


def test_listeners_are_counted_and_checked_in_one_step(make_service):
    service = make_service(max_listeners=MAX_LISTENERS)
    job_id = service.post().json()["id"]
    request = f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    with ExitStack() as held:
        sockets = [held.enter_context(closing(dial(service, request))) for _ in range(MAX_LISTENERS + 30)]
        wait_until(lambda: service.services.listeners.count == MAX_LISTENERS, 20)
        firsts = [connection.recv(12, socket.MSG_WAITALL).decode() for connection in sockets]
        assert firsts.count("HTTP/1.1 200") == MAX_LISTENERS and firsts.count("HTTP/1.1 429") == 30
    wait_until(lambda: service.services.listeners.count == 0, 10)


def test_slow_clients_and_aborted_uploads_leave_nothing(make_service):
    service = make_service(limits=ConnectionLimits(most=500, request_s=0.5), outside={"pace": PACE})
    assert service.post().status_code == 202  # starts the threads that every service has
    (job,) = service.http.get("/jobs").json()["jobs"]
    service.http.delete(f"/jobs/{job['id']}")
    threads = threading.active_count()
    with ExitStack() as clients:
        for number in range(200):
            clients.enter_context(closing(dial(service, (HEALTH, UPLOAD, UPLOAD + PART, b"")[number % 4])))
        for number in range(50):
            with closing(dial(service, UPLOAD + PART + b"x" * 1000 * number)):
                pass
        assert service.post("/jobs/validate").status_code == 200, "others are served meanwhile"
        wait_until(lambda: service.server.connections <= 1, 20)
    assert folders(service) == [] and service.http.get("/jobs").json()["jobs"] == []
    assert service.services.listeners.count == 0
    assert threading.active_count() <= threads + 40, "those of the pool for blocking calls"


def test_invented_methods_do_not_grow_the_metrics(make_service):
    service = make_service()
    service.http.get("/metrics")
    before = len(service.http.get("/metrics").text.splitlines())
    for number in range(100):
        assert_problem(service.http.request(f"BREW{number}", f"/jobs/{number}/x"), 404, "not_found")
        assert service.http.request(f"BREW{number}", "/jobs").status_code == 405
    text = service.http.get("/metrics").text
    assert "BREW" not in text and 'method="(other)"' in text
    assert len(text.splitlines()) < before + 50


@pytest.mark.parametrize(
    ("descriptors", "most"), [(256, 16), (1024, 174), (4096, 1198), (20_000, MAX_CONNECTIONS), (10**6, MAX_CONNECTIONS)]
)
def test_the_limit_of_connections_follows_that_of_files(descriptors, most):
    assert most_connections(descriptors) == most


def test_the_limit_on_files_is_raised():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 900)); "
        "from app.connections import raise_descriptor_limit; "
        "print(raise_descriptor_limit(), raise_descriptor_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["900"] * 4
