"""Calls as browsers and programs send them, through a guard with a bare application behind it."""

from __future__ import annotations

import anyio
import httpx
import pytest
from fastapi import FastAPI

from app.browser_guard import BrowserGuard
from app.core.hosts import host_name, is_loopback
from app.core.settings import Settings

OWN = "http://localhost:8000"


class Browser:
    """Sender of single calls to a guarded application."""

    def __init__(self, **settings):
        app = FastAPI()

        @app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "DELETE"])
        def anything(path: str) -> str:
            return path

        app.add_middleware(BrowserGuard, settings=Settings(**settings))
        self._app, self._transport = app, httpx.ASGITransport(app)

    def send(self, method, path, **headers):
        async def call():
            async with httpx.AsyncClient(transport=self._transport, base_url=OWN) as client:
                return await client.request(method, path, headers=headers)

        return anyio.run(call)

    def send_without_host(self, path):
        """Return the status of a call of HTTP/1.0, as a health check sends it."""
        scope = {"type": "http", "http_version": "1.0", "method": "GET", "path": path, "headers": []}
        statuses = []

        async def receive():
            return {"type": "http.request"}

        async def note(message):
            statuses.append(message.get("status"))

        anyio.run(self._app, scope | {"query_string": b"", "root_path": ""}, receive, note)
        return statuses[0]


CASES = [
    # method, path, headers, whether it passes
    ("POST", "/jobs", {}, True),  # a program
    ("POST", "/jobs", {"sec-fetch-site": "same-origin", "origin": OWN}, True),
    ("POST", "/jobs", {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
    ("POST", "/jobs", {"sec-fetch-site": "same-site", "origin": "http://localhost:3000"}, False),
    ("POST", "/jobs", {"origin": "https://evil.example"}, False),  # a browser without Sec-Fetch-Site
    ("POST", "/jobs", {"origin": "null"}, False),
    ("POST", "/jobs", {"origin": OWN}, True),
    ("POST", "/jobs", {"origin": "http://localhost:3000"}, False),
    ("DELETE", "/jobs/1", {"sec-fetch-site": "cross-site"}, False),
    ("GET", "/jobs", {"sec-fetch-site": "cross-site", "sec-fetch-dest": "empty"}, False),
    ("GET", "/jobs/1/result", {"sec-fetch-site": "cross-site", "sec-fetch-dest": "video"}, False),
    ("GET", "/jobs/1/result", {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}, True),
    ("POST", "/jobs/1/cancel", {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}, False),
    ("GET", "/jobs/1/result", {"sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe"}, False),
    ("GET", "/links/1", {"sec-fetch-site": "cross-site", "sec-fetch-dest": "video"}, True),
    ("POST", "/links/1", {"sec-fetch-site": "cross-site"}, False),
    ("GET", "/", {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}, True),
    ("GET", "/jobs", {"sec-fetch-site": "none"}, True),
    ("GET", "/jobs", {"host": "evil.example:8000", "sec-fetch-site": "same-origin"}, False),
    ("GET", "/", {"host": "evil.example"}, False),
    ("GET", "/links/1", {"host": "evil.example"}, False),
    ("GET", "/jobs", {"host": "localhost.evil.example"}, False),
    ("GET", "/jobs", {"host": "127.0.0.1:8000"}, True),
    ("GET", "/jobs", {"host": "[::1]:8000"}, True),
    ("GET", "/jobs", {"host": "192.168.1.7:8000"}, True),
    ("GET", "/jobs", {"host": "2130706433:8000"}, False),
    ("GET", "/jobs", {"host": "0x7f.1"}, False),
    ("GET", "/jobs", {"host": ""}, False),
    ("GET", "/jobs", {"host": "LOCALHOST."}, True),
]


@pytest.mark.parametrize(("method", "path", "headers", "passes"), CASES)
def test_without_keys(method, path, headers, passes):
    answer = Browser().send(method, path, **headers)
    assert answer.status_code == (200 if passes else 403), answer.text
    if not passes:
        assert answer.json()["code"] == "forbidden"


def test_a_program_that_names_no_host_is_no_browser():
    assert Browser().send_without_host("/readyz") == 200


def test_names_and_origins_can_be_listed():
    client = Browser(allowed_hosts="dub.example", cors_origins="https://studio.example")
    assert client.send("GET", "/jobs", host="dub.example:443").status_code == 200
    assert client.send("GET", "/jobs", host="other.example").status_code == 403
    listed = {"origin": "https://studio.example", "sec-fetch-site": "cross-site"}
    assert client.send("POST", "/jobs", **listed).status_code == 200
    assert client.send("POST", "/jobs", **listed | {"origin": "https://studio.example.evil"}).status_code == 403


def test_with_keys_any_name_is_fine_but_no_foreign_page():
    client = Browser(auth="keys")
    assert client.send("GET", "/jobs", host="dub.example").status_code == 200
    assert client.send("POST", "/jobs", **{"sec-fetch-site": "cross-site"}).status_code == 403
    assert Browser(auth="keys", allowed_hosts="a.example").send("GET", "/jobs", host="b").status_code == 403


def test_only_links_may_be_shown_by_other_pages():
    client = Browser()
    assert client.send("GET", "/jobs/1/result").headers["cross-origin-resource-policy"] == "same-origin"
    assert "cross-origin-resource-policy" not in client.send("GET", "/links/1").headers


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("a.example:80", "a.example"),
        ("[::1]:8000", "::1"),
        ("[::1]", "::1"),
        ("A.", "a"),
        ("", ""),
        ("1.2.3.4", "1.2.3.4"),
    ],
)
def test_host_name(header, name):
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("LocalHost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("dub.example", False),
    ],
)
def test_loopback(host, is_own):
    assert is_loopback(host) is is_own
