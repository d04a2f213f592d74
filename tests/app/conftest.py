"""Fixtures: one Redis for all tests, emptied before each test, and the application behind a real socket."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.core.records.connection import connect
from app.core.records.records import RecordLimits, Records
from app.core.records.segments import Segments
from app.core.records.upkeep import Upkeep
from app.core.settings import Settings
from app.main import create_app
from app.services import Services
from tests.service import LiveServer, fake_prober, live_server, running_redis


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def bare_redis_url(redis_url):
    """Return the address of a database of the same Redis that no application and no reaper uses."""
    return f"{redis_url}?db=1"


@pytest.fixture
def redis_client(bare_redis_url):
    client = connect(bare_redis_url)
    client.flushall()
    yield client
    client.close()


LIMITS = RecordLimits(retention_s=60, max_attempts=2, max_queued_jobs=5, max_active_per_owner=4)


@pytest.fixture
def records(redis_client):
    return Records(redis_client, LIMITS)


@pytest.fixture
def segments(redis_client):
    return Segments(redis_client, LIMITS)


@pytest.fixture
def upkeep(redis_client):
    return Upkeep(redis_client, LIMITS)


@dataclass
class Service:
    http: httpx.Client
    services: Services
    data_dir: Path
    server: LiveServer

    @property
    def url(self):
        return self.server.url

    def post(self, path="/jobs", files=None, **parts):
        files = {"video": b"moving", "audio": b"sound"} if files is None else files
        return self.http.post(path, files=files, **parts)


@contextmanager
def running_service(prober=None, limits=None, pace=None, **settings):
    values = {"max_upload_bytes": 100_000} | settings
    app = create_app(Settings(**values), prober or fake_prober(), pace)
    with live_server(app, limits) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        yield Service(http, app.state.services, values["data_dir"], server)


@pytest.fixture
def make_service(redis_client, redis_url, tmp_path):
    """Return a function that starts an application with the settings of the test; all are ended after the test."""
    with ExitStack() as stack:

        def make(**settings):
            values = {"redis_url": redis_url, "data_dir": tmp_path / "data"} | settings
            return stack.enter_context(running_service(**values))

        yield make


@pytest.fixture(scope="session")
def standing_service(redis_url, tmp_path_factory):
    with running_service(redis_url=redis_url, data_dir=tmp_path_factory.mktemp("data")) as service:
        yield service


@pytest.fixture
def service(standing_service, redis_client):
    """Return the application that all tests share, without jobs."""
    for folder in (standing_service.data_dir / "jobs").glob("*"):
        shutil.rmtree(folder)
    return standing_service
