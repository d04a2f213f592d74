from __future__ import annotations

import json

import pytest

from app.schemas import UploadRequest
from tests.app.conftest import running_service
from tests.app.routes.test_jobs import assert_problem
from tests.service import WORKER


@pytest.fixture(scope="module")
def service_without_redis(tmp_path_factory):
    folder = tmp_path_factory.mktemp("away")
    with running_service(redis_url=f"unix://{folder}/none.sock", data_dir=folder / "data") as service:
        yield service


def test_alive_without_anything(service_without_redis):
    assert service_without_redis.http.get("/healthz").json() == {"status": "alive"}


ONE_JOB = "/jobs/" + "0" * 32
CALLS = [
    ("POST", "/jobs"),
    ("POST", "/jobs/validate"),
    ("GET", "/jobs"),
    ("GET", ONE_JOB),
    ("GET", ONE_JOB + "?wait=9"),
    ("GET", ONE_JOB + "/events"),
    ("GET", ONE_JOB + "/result"),
    ("POST", ONE_JOB + "/cancel"),
    ("POST", ONE_JOB + "/retry"),
    ("DELETE", ONE_JOB),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/info"),
]


@pytest.mark.parametrize("call", CALLS)
def test_an_unavailable_redis_is_503_with_a_code(service_without_redis, tmp_path, call):
    files = {"video": b"v", "audio": b"a"} if call[1] in ("/jobs", "/jobs/validate") and call[0] == "POST" else None
    answer = service_without_redis.http.request(*call, files=files)
    body = assert_problem(answer, 503, "internal")
    assert body["retryable"] and answer.headers["retry-after"]
    assert "Traceback" not in answer.text and ".sock" not in answer.text


def test_readiness_names_what_is_missing(service, make_service, tmp_path):
    body = assert_problem(service.http.get("/readyz"), 503, "internal")
    assert body["checks"].keys() == {"worker"} and "starting" in body["hint"]
    service.services.records.announce(WORKER)
    answer = service.http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
    away = make_service(redis_url=f"unix://{tmp_path}/none.sock", data_dir=tmp_path / "other")
    assert assert_problem(away.http.get("/readyz"), 503, "internal")["checks"].keys() == {"redis"}


def test_info(service):
    service.services.records.announce(WORKER)
    info = service.http.get("/info").json()
    assert info["limits"]["max_upload_bytes"] == 100_000 and info["version"]
    assert info["workers"] == [WORKER.model_dump()]


def test_metrics(make_service):
    service = make_service()
    service.post()
    service.http.get("/jobs/" + "0" * 32)
    text = service.http.get("/metrics").text
    assert 'lipsync_jobs{status="queued"} 1.0' in text
    assert 'lipsync_job_moves_total{move="created"} 1.0' in text
    assert 'lipsync_http_requests_total{method="GET",route="/jobs/{job_id}",status="404"} 1.0' in text
    assert "lipsync_listeners 0.0" in text
    assert "lipsync_workers 0.0" in text and "0" * 32 not in text


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_elsewhere(service, path):
    answer = service.http.get(path)
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    text = answer.text.replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in text and "https://" not in text and "src=" not in text


def test_openapi(service):
    document = service.http.get("/openapi.json").json()
    paths = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert paths == {
        ("/jobs", "get"),
        ("/jobs", "post"),
        ("/jobs/validate", "post"),
        ("/jobs/{job_id}", "get"),
        ("/jobs/{job_id}", "delete"),
        ("/jobs/{job_id}/cancel", "post"),
        ("/jobs/{job_id}/result", "get"),
        ("/jobs/{job_id}/events", "get"),
        ("/jobs/{job_id}/retry", "post"),
        ("/jobs/{job_id}/result/link", "get"),
        ("/links/{job_id}", "get"),
        ("/batches", "post"),
        ("/batches/{batch_id}", "get"),
        ("/batches/{batch_id}/cancel", "post"),
        ("/uploads", "post"),
        ("/uploads/{upload_id}", "delete"),
        ("/webhooks/failed", "get"),
        ("/webhooks/{webhook_id}/resend", "post"),
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
        ("/info", "get"),
    }
    form = document["paths"]["/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["video"]["contentMediaType"] == "application/octet-stream"
    assert "video_url" in form["properties"] and "video_url" in form["properties"]["video"]["description"]
    assert form["properties"]["crf"]["default"] == 18 and form["properties"]["sync_mode"]["description"]
    refused = document["paths"]["/jobs"]["post"]["responses"]["422"]["content"]
    assert list(refused) == ["application/problem+json"]
    assert document["components"]["schemas"]["JobView"]["example"]["status"] == "running"
    assert "HTTPValidationError" not in json.dumps(document)


def sent_example(content):
    """Return the files and the texts of a form's example; the name of a file in brackets stands for its content."""
    texts = {name: str(value) for name, value in content["example"].items()}
    files = {name: text.strip("()").encode() for name, text in texts.items() if text.startswith("(")}
    return files, {name: text for name, text in texts.items() if name not in files}


@pytest.mark.parametrize(("path", "status"), [("/jobs", 202), ("/jobs/validate", 200), ("/batches", 202)])
def test_the_examples_of_forms_are_accepted(service, path, status):
    operation = service.http.get("/openapi.json").json()["paths"][path]["post"]
    files, data = sent_example(operation["requestBody"]["content"]["multipart/form-data"])
    answer = service.http.post(path, files=files, data=data)
    assert answer.status_code == status, answer.text


def test_the_example_of_an_upload_is_a_wish_for_one(service):
    schemas = service.http.get("/openapi.json").json()["components"]["schemas"]
    assert UploadRequest.model_validate(schemas["UploadRequest"]["example"]).bytes > 0
