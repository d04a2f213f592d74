"""Jobs whose files are named by address, fetched from a real server on this host by a client that trusts it."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import httpx
import pytest

from app.core.errors import ErrorCode, InputError
from app.core.outgoing.client import OutgoingClient
from app.core.outgoing.policy import OutgoingPolicy
from app.received_form import TimeBudget
from tests.app.conftest import running_service
from tests.app.routes.test_jobs import assert_problem
from tests.service import wait_until

FILES = {
    "/film.mp4": b"moving" * 100,
    "/voice.wav": b"sound" * 50,
    "/bad.mp4": b"bad",
    "/large": b"l" * 4_500,
    "/slow": b"s",
}


@pytest.fixture(scope="module")
def media():
    """Return the address of a server with files."""

    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = FILES.get(self.path)
            length = 1000 if self.path == "/slow" else len(content or b"")
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content or b"")
            if self.path == "/slow":
                self.wfile.flush()
                is_over.wait(60)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    is_over.set()
    server.shutdown()
    server.server_close()


@contextmanager
def fetching_service(redis_url, data_dir, media):
    trusted = (ip_network("127.0.0.0/8"),)
    ports = frozenset({int(media.rpartition(":")[2])})
    client = OutgoingClient(OutgoingPolicy("allow-list", ("127.0.0.1",), ports, trusted_networks=trusted))
    settings = {"redis_url": f"{redis_url}?db=5", "data_dir": data_dir}
    with running_service(outside={"url_client": client}, max_upload_bytes=5_000, **settings) as service:
        yield service


@pytest.fixture(scope="module")
def fetching(redis_url, tmp_path_factory, media):
    """Return a service that may fetch from that server alone."""
    with fetching_service(redis_url, tmp_path_factory.mktemp("urls"), media) as service:
        yield service


def is_fetching(service):
    return any((service.data_dir / "incoming").glob("*/.*"))


def test_a_download_ends_when_its_client_leaves(fetching, media):
    urls = {"video_url": (None, f"{media}/slow"), "audio_url": (None, f"{media}/voice.wav")}
    with pytest.raises(httpx.ReadTimeout):
        fetching.http.post("/jobs", files=urls, timeout=1)
    wait_until(lambda: list((fetching.data_dir / "incoming").iterdir()) == [], 5)


def test_a_download_ends_when_the_service_stops(redis_url, tmp_path, media):
    with fetching_service(redis_url, tmp_path / "data", media) as service, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(sent, service, video_url=f"{media}/slow", audio_url=f"{media}/voice.wav")
        wait_until(lambda: is_fetching(service), 10)
        service.server.ask_to_end(drain_s=60)
        assert_problem(answer.result(15), 503, "queue_full")


def test_a_wrong_option_is_refused_before_the_download(fetching, media):
    answer = sent(fetching, video_url=f"{media}/slow", audio_url=f"{media}/voice.wav", crf="99")
    assert_problem(answer, 422, "option_invalid")


def sent(service, path="/jobs", files=None, headers=None, **data):
    parts = {name: (None, text) for name, text in data.items()} | (files or {})
    return service.http.post(path, files=parts, headers=headers)


def test_a_job_of_addresses_is_that_of_the_same_files(fetching, media):
    urls = {"video_url": f"{media}/film.mp4", "audio_url": f"{media}/voice.wav"}
    made = sent(fetching, headers={"Idempotency-Key": "one"}, **urls)
    assert made.status_code == 202, made.text
    job = made.json()
    assert job["input"]["video"]["bytes"] == len(FILES["/film.mp4"])
    uploaded = {"video": FILES["/film.mp4"], "audio": FILES["/voice.wav"]}
    again = sent(fetching, files=uploaded, headers={"Idempotency-Key": "one"})
    assert (again.status_code, again.json()["id"]) == (202, job["id"])
    stored = fetching.services.storage.fetch(job["id"], "video", fetching.data_dir)
    assert stored.read_bytes() == FILES["/film.mp4"]


@pytest.mark.parametrize("path", ["/jobs", "/jobs/validate"])
def test_one_address_can_be_of_two_parts(fetching, media, path):
    made = sent(fetching, path, video_url=f"{media}/film.mp4", audio_url=f"{media}/film.mp4")
    assert made.is_success, made.text
    if path == "/jobs":
        storage = fetching.services.storage
        stored = [storage.fetch(made.json()["id"], part, fetching.data_dir) for part in ("video", "audio")]
        assert [file.read_bytes() for file in stored] == [FILES["/film.mp4"]] * 2


def test_one_may_be_a_file_and_the_other_an_address(fetching, media):
    answer = sent(fetching, "/jobs/validate", files={"audio": b"sound"}, video_url=f"{media}/film.mp4")
    assert answer.status_code == 200 and answer.json()["input"]["audio"]["bytes"] == 5


def test_many_slow_addresses_take_a_bounded_time():
    budget, done = TimeBudget(0.02), []
    budget.spend(lambda: done.append(1))
    budget.spend(lambda: time.sleep(0.03))
    with pytest.raises(InputError, match="together") as caught:
        budget.spend(lambda: done.append(2))
    assert caught.value.code == ErrorCode.URL_FETCH_FAILED and done == [1]


REFUSED = [
    ({"video_url": "{media}/film.mp4"}, 422, "option_invalid", "audio"),  # no voice
    ({"video_url": "{media}/film.mp4", "audio_url": "{media}/none.wav"}, 422, "url_fetch_failed", "audio_url"),
    ({"video_url": "{media}/bad.mp4", "audio_url": "{media}/voice.wav"}, 422, "video_unreadable", ""),
    ({"video_url": "http://example.org/film.mp4", "audio_url": "{media}/voice.wav"}, 422, "url_blocked", "video_url"),
    ({"video_url": "http://169.254.169.254/", "audio_url": "{media}/voice.wav"}, 422, "url_blocked", "video_url"),
    ({"video_url": "file:///etc/passwd", "audio_url": "{media}/voice.wav"}, 422, "url_blocked", "video_url"),
    ({"video_url": "{media}/large", "audio_url": "{media}/film.mp4"}, 413, "input_too_large", "audio_url"),
    ({"video_url": "", "audio_url": "{media}/voice.wav"}, 422, "url_blocked", "video_url"),
]


@pytest.mark.parametrize(("data", "status", "code", "place"), REFUSED)
def test_what_cannot_be_fetched_leaves_nothing(fetching, media, data, status, code, place):
    before = sorted(fetching.data_dir.rglob("*"))
    answer = sent(fetching, **{name: text.format(media=media) for name, text in data.items()})
    assert assert_problem(answer, status, code)["detail"].startswith(place)
    assert sorted(fetching.data_dir.rglob("*")) == before


def test_a_file_and_its_address_are_too_much(fetching, media):
    answer = sent(fetching, files={"video": b"moving", "audio": b"s"}, video_url=f"{media}/film.mp4")
    assert_problem(answer, 422, "option_invalid")


def test_addresses_are_off_by_default(service, media):
    answer = sent(service, video_url=f"{media}/film.mp4", audio_url=f"{media}/voice.wav")
    assert_problem(answer, 422, "url_blocked")


def test_segments_name_addresses_that_the_record_does_not_keep(fetching, media):
    segments = [
        {"start_s": 0, "end_s": 1, "audio": f"{media}/voice.wav"},
        {"start_s": 1, "end_s": 2, "audio": "anna"},
        {"start_s": 2, "end_s": 3, "audio": f"{media}/voice.wav"},
    ]
    made = sent(fetching, files={"anna": b"a voice"}, video_url=f"{media}/film.mp4", segments=json.dumps(segments))
    assert made.status_code == 202, made.text
    job = made.json()
    assert [one["audio"] for one in job["options"]["segments"]] == ["url:0", "anna", "url:0"]
    assert media not in json.dumps(job)
    assert fetching.services.storage.names(job["id"]) == ["video", "voice-0", "voice-1"]
    for audio, code in (("http://10.0.0.1/voice.wav", "url_blocked"), (f"{media}/none.wav", "url_fetch_failed")):
        segments[2]["audio"] = audio
        refused = sent(fetching, files={"anna": b"a"}, video_url=f"{media}/film.mp4", segments=json.dumps(segments))
        assert assert_problem(refused, 422, code)["detail"].startswith("segments[2].audio: ")
