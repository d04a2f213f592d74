from __future__ import annotations

import pytest

from tests.app.routes.test_jobs import assert_problem

JOB = "/jobs/" + "0" * 32
ALLOWED = [
    ("/", "GET, HEAD, OPTIONS"),
    ("/docs", "GET, HEAD, OPTIONS"),
    ("/healthz", "GET, HEAD, OPTIONS"),
    ("/jobs", "GET, HEAD, OPTIONS, POST"),
    (JOB, "DELETE, GET, HEAD, OPTIONS"),
    ("/jobs/validate", "OPTIONS, POST"),
    (f"{JOB}/cancel", "OPTIONS, POST"),
    (f"{JOB}/result", "GET, HEAD, OPTIONS"),
    ("/openapi.json", "GET, HEAD, OPTIONS"),
]


@pytest.mark.parametrize(("path", "methods"), ALLOWED)
def test_allow_names_all_methods_of_an_address(service, path, methods):
    answer = service.http.options(path)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, methods, b"")
    for method in ("PATCH", "TRACE", "PROPFIND"):
        refused = service.http.request(method, path)
        assert_problem(refused, 405, "not_found")
        assert refused.headers["allow"] == methods


def test_nothing_is_allowed_where_nothing_is(service):
    assert_problem(service.http.options("/nothing"), 404, "not_found")


PLAIN = [
    "/",
    "/docs",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
    "/info",
    "/jobs",
    "/jobs?limit=0",
    JOB,
    "/no",
]


@pytest.mark.parametrize("path", PLAIN)
def test_head_is_get_without_a_body(service, path):
    head, get = service.http.head(path), service.http.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("path", ["", "/events"])
def test_head_of_a_job_does_not_wait_for_its_end(service, path):
    job_id = service.post().json()["id"]
    answer = service.http.head(f"/jobs/{job_id}{path}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert service.services.listeners.count == 0
