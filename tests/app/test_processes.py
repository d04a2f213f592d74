"""Several processes of the API behind one address, as `lipsync api` starts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from app.core.jobs import JobOptions, new_job_id
from app.core.records.connection import connect
from app.core.records.records import Records
from lipsync.supervisor import free_port
from tests.app.conftest import LIMITS
from tests.conftest import ROOT
from tests.processes import children_of, is_gone
from tests.service import INPUT, wait_until

COUNT = 2
START_S = 90  # most, of all processes on a machine that has other work


class Api:
    """Running API of several processes."""

    def __init__(self, port, process):
        self.url, self.process = f"http://127.0.0.1:{port}", process

    def pids(self):
        """Return the processes that serve, in the order of their start."""
        return sorted(child.pid for child in children_of(self.process.pid) if not is_gone(child.pid))

    def get(self, path):
        """Call on a new connection, so that any process may answer."""
        try:
            return httpx.get(self.url + path, timeout=60)
        except httpx.TransportError:
            return None

    def answers(self):
        """Return whether every one of many calls is answered."""
        return all((answer := self.get("/healthz")) and answer.status_code == 200 for _ in range(10))

    def metric(self, line):
        """Return the value of a metric, 0 if it is not there."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", self.get("/metrics").text, re.M)
        return float(found[1]) if found else 0.0


@contextmanager
def running_api(redis_url, data_dir):
    port = free_port("127.0.0.1")
    own = {"REDIS_URL": redis_url, "DATA_DIR": data_dir, "PORT": port, "API_PROCESSES": COUNT}
    environment = os.environ | {f"LIPSYNC_{name}": str(value) for name, value in own.items()}
    log = data_dir / "api.log"
    with log.open("w") as lines:
        command = [sys.executable, "-m", "lipsync", "api"]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=lines, stderr=lines) as process:
            api = Api(port, process)
            try:
                wait_until(lambda: process.poll() is not None or (len(api.pids()) == COUNT and api.answers()), START_S)
                assert process.poll() is None, log.read_text()
                yield api
            finally:
                process.terminate()
    assert process.returncode in (0, -signal.SIGKILL), log.read_text()


@pytest.fixture(scope="module")
def api(redis_url, tmp_path_factory):
    with running_api(f"{redis_url}?db=5", tmp_path_factory.mktemp("data")) as api:
        yield api


def test_all_serve_and_tell_the_sums(api):
    calls, line = 40, 'lipsync_http_requests_total{method="GET",route="/info",status="200"}'
    before = api.metric(line)
    for _ in range(calls):
        assert api.get("/info").status_code == 200
    assert [api.metric(line) - before for _ in range(6)] == [calls] * 6, "whichever process answers"


def test_one_that_dies_is_replaced_and_its_listeners_are_forgotten(api, redis_url):
    client = connect(f"{redis_url}?db=5")
    job_id = Records(client, LIMITS).create(new_job_id(), "", INPUT, JobOptions()).job_id
    first, second = api.pids()
    with ExitStack() as opened:
        for _ in range(10):
            opened.enter_context(httpx.stream("GET", f"{api.url}/jobs/{job_id}/events", timeout=60))
        wait_until(lambda: api.metric("lipsync_listeners") == 10, 30)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(api.pids()) == COUNT and first not in api.pids() and api.answers(), START_S)
        assert second in api.pids()
    wait_until(lambda: api.metric("lipsync_listeners") == 0, 30)
    client.close()


@pytest.mark.slow
def test_none_outlives_a_parent_that_is_killed(redis_url, tmp_path):
    with running_api(f"{redis_url}?db=6", tmp_path) as api:
        pids = api.pids()
        api.process.kill()
        wait_until(lambda: all(map(is_gone, pids)), 20)
