from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import Client
from app.core.errors import InputError, LipSyncError, ServiceError
from app.core.storage.port import result_name
from tests.app.routes.test_results import MP4, REPORT, RESULT
from tests.conftest import ROOT
from tests.service import put, wait_until


@pytest.fixture
def client(service):
    with Client(service.url) as client:
        yield client


@pytest.fixture
def files(tmp_path):
    video, audio = tmp_path / "v", tmp_path / "a"
    video.write_bytes(b"moving")
    audio.write_bytes(b"sound")
    return video, audio


def finish(service, job_id):
    attempt = service.services.records.claim("w", "c").attempt
    put(service.services.storage, job_id, result_name(attempt), MP4)
    assert service.services.records.succeed(job_id, attempt, RESULT, REPORT, [])


def test_submit_sends_typed_options(client, files):
    options = {"silence_gate": False, "crf": 20, "end_s": None, "metadata": {"a": [1]}}
    job = client.submit(*files, options, audio_mix=files[1])
    assert (job["options"]["silence_gate"], job["options"]["crf"], job["options"]["end_s"]) == (False, 20, None)
    assert job["options"]["metadata"] == {"a": [1]} and job["input"]["audio_mix"]["bytes"] == 5
    assert client.status(job["id"])["status"] == "queued"


def test_wait_reports_each_state_and_download_writes_the_result(client, files, service, tmp_path):
    job_id = client.submit(*files)["id"]
    timer = threading.Timer(0.3, finish, (service, job_id))
    states = []

    def note(state):
        states.append(state["status"])
        if len(states) == 1:
            timer.start()

    job = client.wait(job_id, note, timeout_s=60)
    timer.join()
    assert (job["status"], states[0], states[-1]) == ("succeeded", "queued", "succeeded")
    output = tmp_path / "out" / "result.mp4"
    output.parent.mkdir()
    client.download(job_id, output)
    assert output.read_bytes() == MP4 and [path.name for path in output.parent.iterdir()] == ["result.mp4"]


def targets(folder):
    """Yield a path of each kind that no download may replace."""
    folder.mkdir()
    yield Path("/dev/null")
    yield folder
    yield folder / "none" / "out.mp4"
    os.mkfifo(folder / "pipe.mp4")
    yield folder / "pipe.mp4"
    (folder / "link.mp4").symlink_to("/dev/null")
    yield folder / "link.mp4"


def test_only_a_regular_file_is_replaced(client, tmp_path):
    before = os.lstat("/dev/null")
    for target in targets(tmp_path / "targets"):
        with pytest.raises(InputError, match="option_invalid"):
            client.download("0" * 32, target)  # refused before the service is asked
    assert stat.S_ISCHR(os.lstat("/dev/null").st_mode) and os.lstat("/dev/null").st_ino == before.st_ino


def test_a_link_to_a_file_stays_a_link(client, files, service, tmp_path):
    job_id = client.submit(*files)["id"]
    finish(service, job_id)
    kept, link = tmp_path / "kept.mp4", tmp_path / "link.mp4"
    kept.write_bytes(b"old")
    link.symlink_to(kept)
    client.download(job_id, link)
    assert link.is_symlink() and kept.read_bytes() == MP4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_download_leaves_nothing(tmp_path, number):
    body = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 1000\r\n\r\nhalf"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        command = ["download", "0" * 32, "--output", str(tmp_path / "out.mp4"), "--url", address]
        process = subprocess.Popen([sys.executable, "-m", "lipsync", *command], cwd=ROOT, stderr=subprocess.PIPE)
        connection, _ = server.accept()
        with connection, process:
            connection.sendall(body)
            wait_until(lambda: list(tmp_path.glob(".out.mp4*")), 10)
            process.send_signal(number)
            assert process.wait(60) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_wait_gives_up_in_time(client, files):
    job_id = client.submit(*files)["id"]
    started_at = time.monotonic()
    with pytest.raises(TimeoutError):
        client.wait(job_id, timeout_s=0.2)
    assert time.monotonic() - started_at < 15  # the service would hold an answer for 20 s


def test_cancel_delete_and_same_key(client, files):
    first = client.submit(*files, idempotency_key="k")
    assert client.submit(*files, idempotency_key="k")["id"] == first["id"]
    assert client.cancel(first["id"])["status"] == "canceled"
    client.delete(first["id"])
    with pytest.raises(LipSyncError, match="not_found"):
        client.status(first["id"])


def test_wait_makes_few_calls(client, files, service):
    job_id = client.submit(*files)["id"]
    states: list[dict[str, Any]] = []
    with pytest.raises(TimeoutError):
        client.wait(job_id, states.append, timeout_s=1.5)
    assert len(states) <= 3, "one at once, one held, perhaps one at the end"


def test_wait_survives_a_service_that_is_unavailable_for_a_while():
    answers = [
        httpx.Response(503),
        httpx.ConnectError("away"),
        httpx.Response(200, json={"status": "running"}),
        httpx.Response(503),
        httpx.Response(200, json={"status": "succeeded"}),
    ]

    def answer(request):
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    with Client("http://test", transport=httpx.MockTransport(answer)) as client:
        assert client.wait("0" * 32)["status"] == "succeeded"


def test_retry(client, files):
    job_id = client.submit(*files)["id"]
    with pytest.raises(LipSyncError, match="retry_refused"):
        client.retry(job_id)
    client.cancel(job_id)
    assert client.retry(job_id)["status"] == "queued"


def test_problems_become_errors_with_their_code(client, files, tmp_path):
    with pytest.raises(LipSyncError, match="option_invalid: crf"):
        client.submit(*files, {"crf": 99})
    with pytest.raises(LipSyncError, match="option_invalid: video: cannot be read"):
        client.submit(tmp_path / "none", files[1])
    job_id = client.submit(*files)["id"]
    with pytest.raises(LipSyncError, match="result_not_ready"):
        client.download(job_id, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_a_missing_service_is_an_error():
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServiceError, match="No answer"):
        client.info()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>bad gateway"),
        httpx.Response(500, json=["x"]),
        httpx.Response(500, json={"code": "new_code", "detail": "d"}),
    ],
)
def test_error_answers_of_other_servers(answer):
    transport = httpx.MockTransport(lambda request: answer)
    with Client("http://test", transport=transport) as client, pytest.raises(ServiceError, match="with status 50"):
        client.info()
