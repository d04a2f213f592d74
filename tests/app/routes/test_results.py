from __future__ import annotations

import hashlib

import pytest
from starlette.exceptions import HTTPException

from app.core.jobs import Report, ResultFacts
from app.core.storage.port import result_name
from app.ranges import Span, parse_range
from tests.app.conftest import running_service
from tests.app.routes.test_jobs import assert_problem
from tests.service import put

MP4 = bytes(range(256)) * 40
SHA256 = hashlib.sha256(MP4).hexdigest()
RESULT = ResultFacts(bytes=len(MP4), sha256=SHA256, duration_s=4.0, fps="25", width=640, height=480, frames=100)
REPORT = Report(
    face_coverage=1, face_height_px=120, stage_seconds={}, realtime_factor=0.5, checkpoint="n", device="cpu"
)


def finish(service):
    """Create a job, finish it as a worker would, and return its id."""
    job_id = service.post().json()["id"]
    attempt = service.services.records.claim("w", "c").attempt
    put(service.services.storage, job_id, result_name(attempt), MP4)
    assert service.services.records.succeed(job_id, attempt, RESULT, REPORT, [])
    return job_id


@pytest.fixture
def finished(service):
    return service, finish(service)


@pytest.fixture(params=["folder", "s3"], scope="module")
def everywhere(request, redis_url, tmp_path_factory):
    """Return a finished job of a service with each kind of storage."""
    folder = tmp_path_factory.mktemp("everywhere")
    named = request.getfixturevalue("s3").settings(folder.name) if request.param == "s3" else {}
    database = 2 if request.param == "folder" else 3
    with running_service(redis_url=f"{redis_url}?db={database}", data_dir=folder, **named) as service:
        yield service, finish(service)


def test_the_whole_file(everywhere):
    service, job_id = everywhere
    job = service.http.get(f"/jobs/{job_id}").json()
    assert job["result"] == RESULT.model_dump() | {"url": f"/jobs/{job_id}/result"}
    answer = service.http.get(job["result"]["url"])
    assert (answer.status_code, answer.content) == (200, MP4)
    headers = answer.headers
    assert (headers["content-type"], headers["accept-ranges"], headers["etag"]) == ("video/mp4", "bytes", f'"{SHA256}"')
    assert headers["content-disposition"] == f'attachment; filename="lipsync-{job_id[:8]}.mp4"'
    head = service.http.head(job["result"]["url"])
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(MP4)), b"")


SIZE = len(MP4)
RANGES = [
    ("bytes=0-0", 0, 1),
    ("bytes=100-199", 100, 200),
    (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
    ("bytes=-10", SIZE - 10, SIZE),
    (f"bytes=-{SIZE * 2}", 0, SIZE),
    (f"bytes=5-{SIZE * 2}", 5, SIZE),
]
WHOLE = [
    "",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=5-4",
    "bytes=a-b",
    "items=0-1",
    "bytes=0-1,5-6",
    "bytes=" + "9" * 40 + "-",
]
OUTSIDE = [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 9}", "bytes=-0"]


@pytest.mark.parametrize(("header", "start", "end"), RANGES)
def test_a_range_is_sent(everywhere, header, start, end):
    service, job_id = everywhere
    answer = service.http.get(f"/jobs/{job_id}/result", headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, MP4[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"


@pytest.mark.parametrize("header", WHOLE)
def test_a_header_that_is_not_one_range_gets_the_whole_file(header):
    assert parse_range(header, SIZE) is None


@pytest.mark.parametrize("header", OUTSIDE)
def test_a_range_outside_is_refused(header, finished):
    with pytest.raises(HTTPException) as caught:
        parse_range(header, SIZE)
    assert caught.value.status_code == 416
    service, job_id = finished
    answer = service.http.get(f"/jobs/{job_id}/result", headers={"Range": header})
    problem = assert_problem(answer, 416, "option_invalid")
    assert f"has {SIZE} bytes" in problem["detail"] and "`Range`" in problem["hint"]
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


def test_span_size():
    assert Span(3, 10).size == 7


def test_validators(finished):
    service, job_id = finished
    url = f"/jobs/{job_id}/result"
    assert service.http.get(url, headers={"If-None-Match": f'"x", W/"{SHA256}"'}).status_code == 304
    assert service.http.get(url, headers={"If-None-Match": '"x"'}).status_code == 200
    partial = {"Range": "bytes=0-1", "If-Range": f'"{SHA256}"'}
    assert service.http.get(url, headers=partial).status_code == 206
    assert service.http.get(url, headers=partial | {"If-Range": '"old"'}).status_code == 200


CONDITIONS = [
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": "*", "Range": "bytes=0-1"}, 304),
    ({"If-None-Match": f'"{SHA256}"', "Range": "bytes=0-1"}, 304),
    ({"If-Match": "*"}, 200),
    ({"If-Match": f'"x", "{SHA256}"'}, 200),
    ({"If-Match": f'"{SHA256}"', "Range": "bytes=0-1"}, 206),
    ({"If-Match": f'"{SHA256}"', "If-None-Match": f'"{SHA256}"'}, 304),
    ({"If-Match": '"x"'}, 412),
    ({"If-Match": f'W/"{SHA256}"'}, 412),
    ({"If-Match": '"x"', "Range": "bytes=0-1"}, 412),
    ({"If-Match": '"x"', "If-None-Match": "*"}, 412),
    ({"If-Range": f'W/"{SHA256}"', "Range": "bytes=0-1"}, 200),
    ({"If-Range": "Thu, 26 Nov 2026 07:00:00 GMT", "Range": "bytes=0-1"}, 200),
    ({"If-Range": f'"{SHA256}"'}, 200),
]


@pytest.mark.parametrize(("headers", "status"), CONDITIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions(everywhere, method, headers, status):
    service, job_id = everywhere
    answer = service.http.request(method, f"/jobs/{job_id}/result", headers=headers)
    assert (answer.status_code, answer.headers["etag"]) == (status, f'"{SHA256}"')
    if status == 412 and method == "GET":
        assert "`If-Match`" in assert_problem(answer, 412, "option_invalid")["hint"]


def test_two_headers_of_one_condition_are_one_list(finished):
    service, job_id = finished
    headers = [("If-None-Match", '"x"'), ("If-None-Match", f'"{SHA256}"')]
    assert service.http.get(f"/jobs/{job_id}/result", headers=headers).status_code == 304


def test_a_missing_result_has_a_reason(service, finished):
    records, redis_client = service.services.records, service.services.redis

    def answer(job_id):
        return service.http.get(f"/jobs/{job_id}/result")

    waiting = service.post().json()["id"]
    assert_problem(answer(waiting), 409, "result_not_ready")
    records.claim("w", "c2")
    assert_problem(answer(waiting), 409, "result_not_ready")
    records.fail(
        waiting, 1, {"code": "no_face_detected", "message": "m", "stage": "detect", "retryable": False, "hint": "h"}
    )
    failed = assert_problem(answer(waiting), 409, "result_not_ready")
    assert "failed" in failed["detail"] and not failed["retryable"] and "error" in failed["hint"]
    assert service.http.get(f"/jobs/{waiting}").json()["error"]["code"] == "no_face_detected"
    canceled = service.post().json()["id"]
    service.http.post(f"/jobs/{canceled}/cancel")
    assert_problem(answer(canceled), 409, "canceled")
    _, done = finished
    redis_client.hset(f"lipsync:job:{done}", "expires_at", 1000)
    assert_problem(answer(done), 410, "result_expired")


def test_expired_files_answer_gone(finished):
    service, job_id = finished
    service.services.redis.zadd("lipsync:expiry", {job_id: 1})
    service.services.sweeper.sweep_expired()
    assert_problem(service.http.get(f"/jobs/{job_id}/result"), 410, "result_expired")
    assert service.http.get(f"/jobs/{job_id}").json()["status"] == "succeeded"
