"""Redis, the API over a real socket, and real worker processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import httpx
import pytest

from app.core.records.connection import connect
from app.core.settings import Settings
from app.main import create_app
from tests.conftest import ROOT
from tests.service import fake_outside, live_server, running_redis, wait_until


class Stack:
    """The service with a real Redis and, on demand, real worker processes around a quick pipeline."""

    def __init__(self, redis_url, data_dir, http, services):
        self.redis_url, self.data_dir, self.http, self.services = redis_url, data_dir, http, services
        self.workers = []

    def clear(self):
        client = connect(self.redis_url)
        client.flushall()
        client.close()
        for folder in [*(self.data_dir / "jobs").glob("*"), *(self.data_dir / "work").glob("*")]:
            shutil.rmtree(folder)

    def start_worker(self, **settings):
        names = {f"LIPSYNC_{name.upper()}": str(value) for name, value in settings.items()}
        environment = os.environ | {"LIPSYNC_REDIS_URL": self.redis_url, "LIPSYNC_DATA_DIR": str(self.data_dir)} | names
        known = {facts.name for facts in self.services.records.live_workers()}
        command = [sys.executable, "-m", "tests.integration.quick_worker"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
        self.workers.append(process)
        wait_until(lambda: {facts.name for facts in self.services.records.live_workers()} - known, 30)
        return process

    def post(self, **plan):
        data = {"metadata": httpx.Response(200, json=plan).text}
        answer = self.http.post("/jobs", files={"video": b"moving", "audio": b"sound"}, data=data)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def get(self, job_id):
        return self.http.get(f"/jobs/{job_id}").json()

    def wait_for(self, job_id, *states, timeout_s=30):
        return wait_until(lambda: (job := self.get(job_id))["status"] in states and job, timeout_s)

    def child_pids(self):
        return [facts.pid for facts in self.services.records.live_workers()]

    def end_workers(self):
        for process in self.workers:
            if process.poll() is None:
                process.terminate()
        for process in self.workers:
            try:
                process.wait(60)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        self.workers.clear()


@pytest.fixture(scope="package")
def standing_stack(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        app = create_app(Settings(redis_url=url, data_dir=data_dir), fake_outside())
        with live_server(app) as server, httpx.Client(base_url=server.url, timeout=60) as http:
            yield Stack(url, data_dir, http, app.state.services)


@pytest.fixture
def bare_stack(standing_stack):
    """Return the service with no worker and no jobs."""
    standing_stack.clear()
    yield standing_stack
    standing_stack.end_workers()


@pytest.fixture(scope="module")
def stack(standing_stack):
    """Return the service with one worker that all tests of a module share."""
    standing_stack.clear()
    standing_stack.start_worker()
    yield standing_stack
    standing_stack.end_workers()
