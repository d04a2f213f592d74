"""Two tenants: whatever a caller asks of another one's jobs, batches, uploads and webhooks is as if there were none.

The routes are those of the API description, so a new one is in the table at once.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.core.access.key_store import new_key
from app.core.jobs import new_job_id
from app.core.settings import Settings
from app.core.storage.port import result_name
from app.main import create_app
from tests.app.conftest import running_service
from tests.app.routes.test_jobs import assert_problem
from tests.app.routes.test_results import MP4, REPORT, RESULT
from tests.service import fake_outside, put

BY_LINK = "/links/{job_id}"  # its signature is the permission
FORM = {"video": b"moving", "audio": b"sound"}
UNKNOWN = {"job_id": "0" * 32, "batch_id": "0" * 32, "upload_id": "0" * 32, "webhook_id": "0" * 32 + "-1-0"}


def routes_of_objects():
    """Return method and path of each route that names an object."""
    document = create_app(Settings(redis_url="redis://127.0.0.1:1", data_dir=Path("none")), fake_outside()).openapi()
    return [
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
        if "{" in path and path != BY_LINK
    ]


ROUTES = routes_of_objects()


@pytest.fixture(scope="module")
def guarded(redis_url, tmp_path_factory):
    url = f"{redis_url}?db=8"
    with running_service(redis_url=url, data_dir=tmp_path_factory.mktemp("tenants"), auth="keys") as service:
        yield service


def new_headers(service):
    return {"X-API-Key": str(service.services.keys.create(new_key("team")))}


@pytest.fixture(scope="module")
def mine(guarded):
    """Return the headers of a caller, and one object of each kind that is its own."""
    headers, services = new_headers(guarded), guarded.services
    owner = headers["X-API-Key"].split("_")[1]
    told = guarded.post(headers=headers, data={"webhook_url": "https://team.example/hook"}).json()["id"]
    guarded.http.post(f"/jobs/{told}/cancel", headers=headers)
    webhook_id = f"{told}-{services.records.get(told).last_event}"
    assert services.webhooks.delay(webhook_id, "The receiver answered 500.", is_last=True) == 0
    done = guarded.post(headers=headers).json()["id"]
    attempt = services.records.claim("w", "c").attempt
    put(services.storage, done, result_name(attempt), MP4)
    assert services.records.succeed(done, attempt, RESULT, REPORT, [])
    jobs = json.dumps([{"video": "video", "audio": "audio"}])
    batch = guarded.http.post("/batches", files=FORM | {"jobs": (None, jobs)}, headers=headers).json()["id"]
    upload = services.direct_uploads.begin(new_job_id(), owner, 10).id
    return headers, {"job_id": done, "batch_id": batch, "upload_id": upload, "webhook_id": webhook_id}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_what_is_another_s_is_as_if_there_were_none(guarded, mine, method, path):
    headers, ids = mine
    others, names = new_headers(guarded), [name for name in UNKNOWN if f"{{{name}}}" in path]
    assert names, "a new kind of object: give the first tenant one, and add it to UNKNOWN"
    before = seen_by(guarded, headers, ids)
    asked = [
        guarded.http.request(method, path.format(**known), headers=others | {"X-Request-ID": "a" * 16})
        for known in (ids, UNKNOWN)
    ]
    assert asked[0].status_code == 404
    if method == "HEAD":
        assert asked[0].content == b""
    else:
        assert_problem(asked[0], 404, "not_found")
        assert asked[0].json() == asked[1].json()
    assert seen_by(guarded, headers, ids) == before


def seen_by(service, headers, ids):
    """Return what the owner sees of its objects."""
    paths = (f"/jobs/{ids['job_id']}", f"/batches/{ids['batch_id']}", "/webhooks/failed", "/jobs")
    found = [service.http.get(path, headers=headers) for path in paths]
    assert all(answer.status_code == 200 for answer in found) and found[2].json()["webhooks"]
    assert service.services.direct_uploads.get(ids["upload_id"]) is not None
    return [answer.json() for answer in found]


def test_lists_have_only_what_is_the_caller_s(guarded, mine):
    others = new_headers(guarded)
    assert guarded.http.get("/jobs", headers=others).json()["jobs"] == []
    assert guarded.http.get("/webhooks/failed", headers=others).json()["webhooks"] == []


def test_the_owner_reaches_each_of_these_objects(guarded, mine):
    """The table above would say nothing of objects that nobody can reach."""
    headers, ids = mine
    reads = [path for method, path in ROUTES if method == "GET" and not path.endswith("/events")]
    assert {guarded.http.get(path.format(**ids), headers=headers).status_code for path in reads} == {200}
