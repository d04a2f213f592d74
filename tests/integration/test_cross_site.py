"""Pages of other sites in a real Chromium, against a service on this machine that needs no key.

The page `cross_site.html` tries what scripts, elements and forms can do with an address, and tells its own server what
it could read. In a rebinding attack the host name of the page gets the address of the service after the page was
loaded. Here one server plays both parts: it sends the page, and passes other calls on with the headers of the browser.
Where the settings let the page in, its attempts succeed: so a refusal is the service's, not a mistake of the page.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx
import pytest

from app.core.jobs import ResultFacts
from app.core.records.connection import connect
from app.core.storage.port import result_name
from tests.app.conftest import Service, running_service
from tests.app.routes.test_results import REPORT
from tests.conftest import ROOT
from tests.service import put, running_redis, wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no browser here")]

PAGE = (ROOT / "tests" / "integration" / "cross_site.html").read_text()
FOREIGN = "evil.example"
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-proxy-server"]
OPTIONS += [f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1"]


class OtherSite(http.server.ThreadingHTTPServer):
    """Server of the attacker, for any host name."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), OtherSiteCall)
        self.page = self.service_url = ""
        self.seen = None


class OtherSiteCall(http.server.BaseHTTPRequestHandler):
    """One call: for the page, with what it saw, or for the service."""

    server: OtherSite

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path in ("/page", "/form"):
            self._send(200, "text/html", self.server.page.encode())
        elif self.path == "/seen":
            self.server.seen = json.loads(body)
            self._send(204, "text/plain", b"")
        else:
            headers = [(name, value) for name, value in self.headers.items() if name.lower() != "connection"]
            url = self.server.service_url + self.path
            answer = httpx.request(self.command, url, headers=headers, content=body, timeout=60)
            passed = {name: answer.headers[name] for name in ("content-range",) if name in answer.headers}
            with suppress(ConnectionError):  # the browser may want no more of it
                self._send(answer.status_code, answer.headers.get("content-type", "text/plain"), answer.content, passed)

    do_POST = do_DELETE = do_GET  # noqa: N815

    def _send(self, status, kind, body, passed=None):
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body))} | (passed or {})
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=1", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-v", "error", *source, "-movflags", "+faststart", path], check=True)
    return path.read_bytes()


@pytest.fixture(scope="module")
def standing_redis_url(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_url(standing_redis_url):
    client = connect(standing_redis_url)
    client.flushall()
    client.close()
    return standing_redis_url


@pytest.fixture
def site():
    with OtherSite() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@dataclass
class Target:
    """Service with a job that is done and one that waits."""

    service: Service
    done: str
    waiting: str

    def jobs(self):
        """Return the status of each job."""
        return {job["id"]: job["status"] for job in self.service.http.get("/jobs").json()["jobs"]}

    def answered_posts(self):
        """Return how many POST calls to which route got which status."""
        counted = r'requests_total{method="POST",route="(.*)",status="(\d+)"} (\S+)'
        found = re.findall(counted, self.service.http.get("/metrics").text)
        return Counter({(route, status): float(count) for route, status, count in found})

    def unharmed(self):
        """Return the jobs as they were before the attack."""
        return {self.done: "succeeded", self.waiting: "queued"}


@pytest.fixture
def make_target(redis_url, film, tmp_path):
    """Return a context of a service with these settings."""

    @contextmanager
    def target(**settings):
        with running_service(redis_url=redis_url, data_dir=tmp_path / "data", **settings) as service:
            done = service.post().json()["id"]
            attempt = service.services.records.claim("w", "c").attempt
            put(service.services.storage, done, result_name(attempt), film)
            digest = hashlib.sha256(film).hexdigest()
            facts = ResultFacts(bytes=len(film), sha256=digest, duration_s=1, fps="10", width=64, height=48, frames=10)
            assert service.services.records.succeed(done, attempt, facts, REPORT, [])
            yield Target(service, done, service.post().json()["id"])

    return target


def prepare(site, target, service_host):
    port = target.service.server.port
    values = {"service": service_host and f"http://{service_host}:{port}", "done": target.done}
    site.service_url, site.page = target.service.url, PAGE
    for name, value in (values | {"waiting": target.waiting}).items():
        site.page = site.page.replace(f"{{{name}}}", value or "")


@contextmanager
def browser(url, profile):
    """Show a page until left."""
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}", url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def attack(site, page_host, target, service_host, profile):
    """Show the page until it told what it could read; `service_host` None is a rebinding attack."""
    prepare(site, target, service_host)
    with browser(f"http://{page_host}:{site.server_port}/page", profile):
        return wait_until(lambda: site.seen, 60)


def submit_form(site, page_host, target, service_host, profile):
    """Have a page send a form in place of itself; return with which status the service answers."""
    prepare(site, target, service_host)
    before = target.answered_posts()
    with browser(f"http://{page_host}:{site.server_port}/form", profile):
        ((_, status),) = wait_until(lambda: target.answered_posts() - before, 60)
    return status


ATTACKS = [
    # host of the page, host by which it calls the service; None: its own, after rebinding
    (FOREIGN, "127.0.0.1"),
    ("localhost", "127.0.0.1"),  # another site, though the same machine
    ("localhost", "localhost"),  # the same site: only the port differs
    (FOREIGN, None),
]


@pytest.mark.parametrize(("page_host", "service_host"), ATTACKS)
def test_a_page_of_another_site_reads_and_changes_nothing(make_target, site, page_host, service_host, tmp_path):
    with make_target() as target:
        seen = attack(site, page_host, target, service_host, tmp_path / "attack")
        assert len(seen) == 17 and set(seen.values()) == {"nothing"}
        assert target.jobs() == target.unharmed()
        assert submit_form(site, page_host, target, service_host, tmp_path / "form") == "403"
        assert target.jobs() == target.unharmed()


def test_a_rebound_page_reads_and_changes_all_where_its_name_is_listed(make_target, site, tmp_path):
    with make_target(allowed_hosts=FOREIGN) as target:
        seen = attack(site, FOREIGN, target, None, tmp_path / "attack")
        assert {name for name, text in seen.items() if text == "nothing"} == set()
        jobs = target.jobs()
        assert target.done not in jobs and jobs[target.waiting] == "canceled"
        assert len(jobs) == 4  # the one that waited, two by scripts, one by a form
        assert submit_form(site, FOREIGN, target, None, tmp_path / "form") == "202"


def test_a_listed_page_of_another_site_may_call(make_target, site, tmp_path):
    with make_target(cors_origins=f"http://{FOREIGN}:{site.server_port}") as target:
        seen = attack(site, FOREIGN, target, "127.0.0.1", tmp_path / "attack")
        assert target.done in seen["cors: read"] and '"status":"queued"' in seen["cors: create"]
        assert seen["film"] == "nothing"  # an element sends no Origin
        assert len(target.jobs()) > 2
