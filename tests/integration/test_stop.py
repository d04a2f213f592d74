"""The API as a process of its own is told to end while it is busy; messages get lost; priorities meet a real worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from app.core.queue import JOBS_QUEUE
from app.shutdown import CUT_S, DRAIN_S
from lipsync.supervisor import free_port
from tests.app.routes.test_events import Listener
from tests.app.routes.test_results import REPORT, RESULT
from tests.conftest import ROOT
from tests.service import wait_until

BIG = os.urandom(1024) * 1024 * 64  # more than the sockets between client and server hold


class Api:
    """`lipsync api` on the Redis and the data of a stack."""

    def __init__(self, stack):
        port = free_port("127.0.0.1")
        environment = os.environ | {
            "LIPSYNC_REDIS_URL": stack.redis_url,
            "LIPSYNC_DATA_DIR": str(stack.data_dir),
            "LIPSYNC_PORT": str(port),
        }
        self.process = subprocess.Popen([sys.executable, "-m", "lipsync", "api"], cwd=ROOT, env=environment)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        wait_until(self._answers, 20)

    def _answers(self):
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def end(self):
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)


@pytest.fixture
def api(bare_stack):
    api = Api(bare_stack)
    yield api
    api.end()


def finished_job(stack):
    job_id = stack.post()
    records = stack.services.records
    attempt = records.claim("w", job_id).attempt
    (stack.data_dir / "jobs" / job_id / f"result-{attempt}.mp4").write_bytes(BIG)
    result = RESULT.model_copy(update={"bytes": len(BIG)})
    assert records.succeed(job_id, attempt, result, REPORT, [])
    return job_id


def test_a_download_ends_and_a_listener_is_told_when_the_api_is_told_to_end(bare_stack, api):
    done, waiting = finished_job(bare_stack), bare_stack.post()
    listener = Listener(api, waiting)
    listener.wait_for("status queued")
    with api.http.stream("GET", f"/jobs/{done}/result") as answer:
        blocks = answer.iter_bytes(1024 * 1024)
        received = len(next(blocks))
        told_at = time.monotonic()
        api.process.send_signal(signal.SIGTERM)
        assert listener.join() == ["status queued"]
        refused = api.http.get("/readyz")
        assert refused.status_code == 503 and "about to end" in refused.json()["checks"]["process"]
        assert api.http.post("/jobs", files={"video": b"v", "audio": b"a"}).status_code == 503
        received += sum(len(block) for block in blocks)
    assert received == len(BIG)
    api.process.wait(60)
    assert time.monotonic() - told_at < 40  # 12 s, and what a busy machine adds


@pytest.mark.slow  # the whole time of grace
def test_a_download_that_stands_still_does_not_hold_up_the_end(bare_stack, api):
    done = finished_job(bare_stack)
    with api.http.stream("GET", f"/jobs/{done}/result") as answer:
        blocks = answer.iter_bytes(1024)
        next(blocks)
        told_at = time.monotonic()
        api.process.send_signal(signal.SIGTERM)
        api.process.wait(60)
        assert DRAIN_S <= time.monotonic() - told_at < DRAIN_S + CUT_S + 20


def test_an_idle_api_ends_at_once(api):
    api.process.send_signal(signal.SIGTERM)
    api.process.wait(DRAIN_S)  # which it would take with an answer under way


def test_a_job_sent_later_goes_first_where_its_priority_is_higher(bare_stack):
    later = [bare_stack.post(seconds=0.1) for _ in range(2)]
    data = {"metadata": '{"seconds": 0.1}', "priority": "high"}
    first = bare_stack.http.post("/jobs", files={"video": b"v", "audio": b"a"}, data=data).json()
    assert first["queue_position"] == 1
    bare_stack.start_worker()
    started_at = [bare_stack.wait_for(job_id, "succeeded")["started_at"] for job_id in (first["id"], *later)]
    assert started_at == sorted(started_at)


@pytest.mark.slow  # the time in which a message may still be on its way
def test_lost_messages_are_noticed(bare_stack):
    ids = [bare_stack.post() for _ in range(5)]
    bare_stack.services.redis.delete(JOBS_QUEUE)
    lost_at = time.monotonic()
    bare_stack.start_worker()
    for job_id in ids:
        bare_stack.wait_for(job_id, "succeeded")
    assert time.monotonic() - lost_at < 60
