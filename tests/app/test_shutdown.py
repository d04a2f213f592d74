from __future__ import annotations

import threading
import time
from contextlib import suppress

import anyio
import httpx
import pytest

from app.shutdown import CUT_S, Shutdown
from tests.app.routes.test_events import Held, Listener, post
from tests.app.routes.test_jobs import assert_problem
from tests.service import wait_until

BOUNDARY = b'--b\r\nContent-Disposition: form-data; name="'


class SlowUpload:
    """Thread that uploads a job and sends the last part when `end` is called."""

    def __init__(self, service):
        self.answer, self._go_on = None, threading.Event()
        self._thread = threading.Thread(target=self._run, args=(service,))
        self._thread.start()
        wait_until(lambda: any((service.data_dir / "incoming").glob("*/video")), 10)

    def _run(self, service):
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        with suppress(httpx.TransportError):
            self.answer = service.http.post("/jobs", content=self._body(), headers=headers)

    def _body(self):
        yield BOUNDARY + b'video"; filename="v"\r\n\r\n' + b"x" * 2_000_000 + b"\r\n"
        assert self._go_on.wait(150)
        yield BOUNDARY + b'audio"; filename="a"\r\n\r\nsound\r\n--b--\r\n'

    def end(self):
        self._go_on.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.answer


def test_shutdown_refuses_new_work_and_lets_answers_end(make_service):
    service = make_service(max_upload_bytes=10_000_000)
    job_id = post(service)
    listener, held, upload = Listener(service, job_id), Held(service, job_id, 60), SlowUpload(service)
    listener.wait_for("status queued")
    held.wait_until_sent()
    service.server.ask_to_end(drain_s=60)
    assert listener.join() == ["status queued"]
    assert held.join().json()["status"] == "queued"
    assert "process" in assert_problem(service.http.get("/readyz"), 503, "internal")["checks"]
    for path in ("/jobs", "/jobs/validate", f"/jobs/{job_id}/retry"):
        answer = service.post(path)
        assert_problem(answer, 503, "queue_full")
        assert answer.headers["retry-after"]
    assert service.http.get(f"/jobs/{job_id}?wait=60").json()["status"] == "queued"
    assert service.http.get(f"/jobs/{job_id}/events").text == "retry: 2000\n\n"
    assert service.http.get("/healthz").status_code == 200
    accepted = upload.end()
    assert accepted.status_code == 202
    service.server.join()
    assert service.services.records.get(accepted.json()["id"]).status == "queued", "accepted is kept"


def test_an_answer_that_does_not_end_is_cut(make_service):
    service = make_service(max_upload_bytes=10_000_000)
    upload = SlowUpload(service)
    started_at = time.monotonic()
    service.server.ask_to_end(drain_s=0.5)
    service.server.join()
    assert 0.5 + CUT_S <= time.monotonic() - started_at < 60
    assert_problem(upload.end(), 503, "queue_full")
    wait_until(lambda: list((service.data_dir / "incoming").iterdir()) == [], 5)


@pytest.mark.parametrize("is_begun_before", [False, True])
def test_waits_are_interrupted_without_an_error(is_begun_before):
    async def run():
        shutdown, left = Shutdown(), []

        async def wait():
            with shutdown.interruptible():
                await anyio.sleep(60)
                left.append("slept")
            left.append("left")

        if is_begun_before:
            shutdown.begin()
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.sleep(0.01)
            shutdown.begin()
        return left

    assert anyio.run(run) == ["left"]
