"""The service with LIPSYNC_AUTH=keys, over a real socket."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.access.key_store import new_key
from app.core.records.keys import Key
from tests.app.conftest import running_service
from tests.app.routes.test_jobs import assert_problem
from tests.app.routes.test_results import MP4, finish
from tests.service import wait_until

ONE = "0" * 32
SOON_S = 45  # far below the 60 s of `wait`, and a job that waits never ends by itself


@pytest.fixture(scope="module")
def guarded(redis_url, tmp_path_factory):
    url = f"{redis_url}?db=4"
    with running_service(redis_url=url, data_dir=tmp_path_factory.mktemp("keys"), auth="keys") as service:
        yield service


@pytest.fixture
def token(guarded):
    return lambda **facts: str(guarded.services.keys.create(new_key("team", **facts)))


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


ROUTES = [
    ("POST", "/jobs", "submit"),
    ("POST", "/jobs/validate", "submit"),
    ("GET", "/jobs", "read"),
    ("GET", f"/jobs/{ONE}", "read"),
    ("GET", f"/jobs/{ONE}/events", "read"),
    ("GET", f"/jobs/{ONE}/result", "read"),
    ("HEAD", f"/jobs/{ONE}/result", "read"),
    ("GET", f"/jobs/{ONE}/result/link", "read"),
    ("POST", f"/jobs/{ONE}/cancel", "submit"),
    ("POST", f"/jobs/{ONE}/retry", "submit"),
    ("DELETE", f"/jobs/{ONE}", "submit"),
    ("GET", "/metrics", "admin"),
    ("POST", "/batches", "submit"),
    ("GET", f"/batches/{ONE}", "read"),
    ("POST", f"/batches/{ONE}/cancel", "submit"),
    ("POST", "/uploads", "submit"),
    ("DELETE", f"/uploads/{ONE}", "submit"),
    ("GET", "/webhooks/failed", "read"),
    ("POST", "/webhooks/event-1/resend", "submit"),
]
OPEN = ["/", "/docs", "/openapi.json", "/healthz", "/readyz"]


def test_every_route_is_in_the_table(guarded):
    """A new route must not be forgotten."""
    paths = {
        re.sub(r"{(job|batch|upload)_id}", ONE, path).replace("{webhook_id}", "event-1")
        for path in guarded.http.get("/openapi.json").json()["paths"]
    }
    named = {path for _, path, _ in ROUTES} | {*OPEN, "/info", f"/links/{ONE}"}
    assert paths <= named


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_a_call_needs_a_key_with_the_scope(guarded, token, method, path, scope):
    files = (
        {"video": b"v", "audio": b"a"} if method == "POST" and path in ("/jobs", "/jobs/validate", "/batches") else None
    )
    for headers in (
        {},
        bearer("nonsense"),
        {"X-API-Key": f"lsk_{'0' * 12}_{'a' * 43}"},
        {"Authorization": "Basic eA=="},
    ):
        answer = guarded.http.request(method, path, headers=headers, files=files)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    others = [name for name in ("submit", "read") if name != scope]
    answer = guarded.http.request(method, path, headers=bearer(token(scopes=others)), files=files)
    assert answer.status_code == 403
    if method != "HEAD":  # whose answer has no body
        hint = assert_problem(answer, 403, "forbidden")["hint"]
        assert "lipsync keys create --scopes " in hint and scope in hint
    for scopes in ([scope], ["admin"]):
        answer = guarded.http.request(method, path, headers=bearer(token(scopes=scopes)), files=files)
        assert answer.status_code in (200, 202, 404) or path in ("/batches", "/uploads"), answer.text


@pytest.mark.parametrize("path", OPEN)
def test_pages_and_health_need_no_key(guarded, path):
    assert guarded.http.get(path).status_code in (200, 503)


def test_jobs_of_others_are_not_found(guarded, token):
    mine, theirs, admin = token(), token(), token(scopes=["admin"])
    job_id = guarded.post(headers={"X-API-Key": mine}).json()["id"]
    unknown = guarded.http.get(f"/jobs/{ONE}", headers=bearer(theirs)).json()
    for method, path in (
        ("GET", ""), ("GET", "/events"), ("GET", "/result"), ("GET", "/result/link"), ("POST", "/cancel"),
        ("POST", "/retry"), ("DELETE", ""), ("GET", "?wait=9"),
    ):  # fmt: skip
        answer = guarded.http.request(method, f"/jobs/{job_id}{path}", headers=bearer(theirs))
        assert_problem(answer, 404, "not_found")
        assert answer.json() | {"request_id": ""} == unknown | {"request_id": ""}
    assert guarded.http.get("/jobs", headers=bearer(theirs)).json()["jobs"] == []
    assert [job["id"] for job in guarded.http.get("/jobs", headers=bearer(mine)).json()["jobs"]] == [job_id]
    assert guarded.http.get(f"/jobs/{job_id}", headers=bearer(admin)).status_code == 200


def test_calls_that_last_end_soon_after_their_key(guarded, token):
    keys = guarded.services.keys
    tokens = {end: token() for end in ("revoked", "rotated", "expired")}
    ids = {end: text.split("_")[1] for end, text in tokens.items()}
    jobs = {end: guarded.post(headers=bearer(text)).json()["id"] for end, text in tokens.items()}

    def get(end, path, **parameters):
        headers = bearer(tokens[end])
        return guarded.http.get(f"/jobs/{jobs[end]}{path}", params=parameters, headers=headers, timeout=SOON_S)

    with ThreadPoolExecutor(2 * len(tokens)) as pool:
        waits = [pool.submit(get, end, "", wait=60) for end in tokens]
        streams = [pool.submit(get, end, "/events") for end in tokens]
        try:
            wait_until(lambda: guarded.services.listeners.count == 2 * len(tokens), 10)
            keys.revoke(ids["revoked"])
            keys.rotate(ids["rotated"], 0)
            expired = keys.find(tokens["expired"]).model_copy(update={"expires_at": int(time.time()) - 1})
            guarded.services.redis.hset(Key.API_KEY + expired.id, "doc", expired.model_dump_json())
            for wait in waits:
                assert_problem(wait.result(SOON_S), 401, "unauthorized")
            assert [stream.result(SOON_S).status_code for stream in streams] == [200] * len(tokens)
            assert {guarded.services.records.get(job_id).status for job_id in jobs.values()} == {"queued"}
        finally:
            for job_id in jobs.values():  # ends what still listens
                guarded.services.records.cancel(job_id)


def test_the_same_idempotency_key_of_two_callers_makes_two_jobs(guarded, token):
    ids = {guarded.post(headers={"X-API-Key": token(), "Idempotency-Key": "same"}).json()["id"] for _ in range(2)}
    assert len(ids) == 2


def test_limits_of_a_key(guarded, token):
    slow = token(rate_per_min=2)
    for _ in range(2):
        assert guarded.http.get("/jobs", headers=bearer(slow)).status_code == 200
    answer = guarded.http.get("/jobs", headers=bearer(slow))
    assert_problem(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    single = token(max_active=1)
    job_id = guarded.post(headers=bearer(single)).json()["id"]
    assert_problem(guarded.post(headers=bearer(single)), 429, "concurrency_limited")
    guarded.http.post(f"/jobs/{job_id}/cancel", headers=bearer(single))
    assert guarded.post(headers=bearer(single)).status_code == 202
    assert_problem(guarded.http.post(f"/jobs/{job_id}/retry", headers=bearer(single)), 429, "concurrency_limited")


def test_a_retry_by_an_administrator_counts_the_jobs_of_the_owner_alone(guarded, token):
    mine, admin = token(), token(scopes=["admin"], max_active=1)
    ids = [guarded.post(headers=bearer(mine)).json()["id"] for _ in range(2)]
    guarded.http.post(f"/jobs/{ids[0]}/cancel", headers=bearer(admin))
    assert guarded.http.post(f"/jobs/{ids[0]}/retry", headers=bearer(admin)).status_code == 202


def test_a_link_names_the_public_address(make_service):
    service = make_service(public_url="https://dub.example/lipsync")
    job_id = finish(service)
    url = service.http.get(f"/jobs/{job_id}/result/link", headers={"Host": "127.0.0.9"}).json()["url"]
    assert url.startswith(f"https://dub.example/lipsync/links/{job_id}?")
    assert service.http.get(url.removeprefix("https://dub.example/lipsync")).content == MP4
