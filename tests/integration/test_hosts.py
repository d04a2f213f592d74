"""Service and worker on two hosts: nothing in common but Redis and the storage, a mounted folder or a bucket."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from app.core.settings import Settings
from app.main import create_app
from tests.integration.conftest import Stack
from tests.s3 import S3Server
from tests.service import fake_outside, live_server, running_redis, wait_until


@contextmanager
def two_hosts(folder, **named):
    """Run a service whose disk no worker sees, and a worker whose disk the service does not."""
    (folder / "redis").mkdir()
    with running_redis(folder / "redis") as url:
        app = create_app(Settings(redis_url=url, data_dir=folder / "service", **named), fake_outside())
        with live_server(app) as server, httpx.Client(base_url=server.url, timeout=60) as http:
            stack = Stack(url, folder / "worker", http, app.state.services)
            try:
                stack.start_worker(**named)
                yield stack
            finally:
                stack.end_workers()


def files_of(folder):
    return [path for place in ("incoming", "inputs", "work", "jobs") for path in (folder / place).rglob("*")]


@pytest.fixture(params=["folder", "s3"])
def storage_settings(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("s3").settings(tmp_path.name)
    (tmp_path / "mounted").mkdir()
    return {"storage": str(tmp_path / "mounted")}


def test_a_job_is_done_on_another_host(storage_settings, tmp_path):
    with two_hosts(tmp_path, **storage_settings) as stack:
        job = stack.wait_for(stack.post(seconds=0.5), "succeeded")
        assert stack.http.get(job["result"]["url"]).content == b"mp4 of moving"
        part = stack.http.get(job["result"]["url"], headers={"Range": "bytes=4-5"})
        assert (part.status_code, part.content) == (206, b"of")
        link = stack.http.get(f"{job['result']['url']}/link").json()
        assert httpx.get(link["url"]).content == b"mp4 of moving"
        assert stack.services.storage.names(job["id"]) == ["audio", "result-1.mp4", "video"]
        faces = stack.http.post("/jobs/validate", files={"video": b"moving", "audio": b"sound"}).json()["faces"]
        assert faces[0]["score"] == 0.9
        assert stack.http.delete(f"/jobs/{job['id']}").status_code == 204
        assert list(stack.services.storage.idle_jobs(-60)) == []
        assert files_of(tmp_path / "service") == []
        wait_until(lambda: not list((tmp_path / "worker" / "work").iterdir()), 5)


def test_the_segments_of_a_long_clip_are_done_on_two_hosts(storage_settings, tmp_path):
    with two_hosts(tmp_path, **storage_settings) as stack:
        stack.start_worker(data_dir=tmp_path / "second", **storage_settings)
        job = stack.wait_for(stack.post(segments=4, seconds=1), "succeeded")
        assert stack.http.get(job["result"]["url"]).content == b"0 of 4, 1 of 4, 2 of 4, 3 of 4, "
        kept = {"audio", "result-1.mp4", "video"}
        wait_until(lambda: set(stack.services.storage.names(job["id"])) == kept, 5)
        facts = stack.services.redis.hgetall(f"lipsync:segments:{job['id']}")
        assert len({facts[f"{number}:worker"] for number in range(4)}) == 2


@dataclass(frozen=True)
class Outage:
    """attempts: an attempt reads a mounted video where it lies and has to begin anew; from a bucket it has a copy."""

    settings: dict
    attempts: int
    begin: Callable[[], object]
    end: Callable[[], object]


@pytest.fixture(params=["folder", "s3"])
def outage(request, tmp_path):
    if request.param == "s3":
        request.getfixturevalue("s3")  # sets the credentials, also when this test runs alone
        with S3Server(tmp_path / "bucket") as server:
            yield Outage(server.settings("x"), 1, server.kill, server.start)
        return
    mounted, unmounted = tmp_path / "mounted", tmp_path / "unmounted"
    mounted.mkdir()
    yield Outage({"storage": str(mounted)}, 2, lambda: mounted.rename(unmounted), lambda: unmounted.rename(mounted))


def test_a_storage_away_for_a_while_costs_no_job(outage, tmp_path):
    with two_hosts(tmp_path, **outage.settings) as stack:
        done = stack.wait_for(stack.post(), "succeeded")
        running = stack.post(seconds=5)
        stack.wait_for(running, "running")
        wait_until(lambda: stack.get(running)["progress"]["frames_done"] > 0, 10)
        waiting = stack.post()
        outage.begin()
        refused = stack.http.post("/jobs", files={"video": b"v", "audio": b"a"})
        for answer in (refused, stack.http.get(done["result"]["url"]), stack.http.delete(f"/jobs/{done['id']}")):
            assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "internal", "5")
        ready = stack.http.get("/readyz").json()
        assert ready["checks"] == {"storage": "The storage does not answer; try again shortly."}
        wait_until(lambda: stack.get(running)["stage"] in ("publish", "fetch"), 10)
        outage.end()
        for job_id, attempts in ((running, outage.attempts), (waiting, 1)):
            job = stack.wait_for(job_id, "succeeded", timeout_s=30)
            assert (job["attempt"], stack.http.get(job["result"]["url"]).content) == (attempts, b"mp4 of moving")
        assert stack.http.get(done["result"]["url"]).content == b"mp4 of moving"
        assert stack.http.delete(f"/jobs/{done['id']}").status_code == 204
