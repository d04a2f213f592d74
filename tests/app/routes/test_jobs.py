from __future__ import annotations

import errno
import http.client
import json
import shutil
import threading
import time
from contextlib import ExitStack, closing

import pytest

from app.core.jobs import JobStatus, Progress
from app.core.probing.probe import ProbeBrokenError
from app.core.queue import FACES_QUEUE, FACES_WAIT_S, JOBS_QUEUE, count_messages, store_faces
from app.services import FACE_WAITS, Prober
from tests.service import WORKER, wait_until

JOB_KEYS = {
    "id",
    "status",
    "stage",
    "progress",
    "queue_position",
    "attempt",
    "created_at",
    "started_at",
    "finished_at",
    "expires_at",
    "input",
    "options",
    "warnings",
    "error",
    "result",
    "report",
    "links",
}
PROBLEM_KEYS = {"type", "title", "status", "detail", "code", "request_id"}


def assert_problem(answer, status, code):
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    body = answer.json()
    assert body.keys() >= PROBLEM_KEYS
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def folders(service):
    return [path.name for place in ("jobs", "incoming") for path in (service.data_dir / place).glob("*")]


def test_post_gives_a_queued_job(service):
    answer = service.post(data={"crf": "20", "metadata": '{"mine": 1}'})
    assert answer.status_code == 202
    job = answer.json()
    assert job.keys() == JOB_KEYS
    assert answer.headers["location"] == job["links"]["self"] == f"/jobs/{job['id']}"
    assert (job["status"], job["queue_position"], job["options"]["crf"]) == ("queued", 1, 20)
    assert job["options"]["metadata"] == {"mine": 1} and job["options"]["sync_mode"] == "cut_off"
    assert (service.data_dir / "jobs" / job["id"] / "video").read_bytes() == b"moving"
    assert service.http.get(job["links"]["self"]).json() == job
    assert [found["id"] for found in service.http.get("/jobs").json()["jobs"]] == [job["id"]]


def test_the_mix_is_used_and_an_empty_field_is_not(service):
    job = service.post(files={"video": b"v", "audio": b"a", "audio_mix": b"mix"}).json()
    assert job["input"]["audio_mix"]["bytes"] == 3
    form = {"video": ("v", b"v"), "audio": ("a", b"a"), "audio_mix": ("", b"")}
    boundary = b"--x\r\nContent-Disposition: form-data; name="
    body = b"".join(
        boundary + f'"{name}"; filename="{file}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, (file, content) in form.items()
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = service.http.post("/jobs", content=body + b"--x--\r\n", headers=headers)
    assert answer.status_code == 202 and answer.json()["input"]["audio_mix"] is None


REFUSED = [
    ({"files": {"video": b"v"}}, 422, "option_invalid", "audio"),
    ({"files": {"audio": b"a"}}, 422, "option_invalid", "video"),
    ({"files": {"video": b"bad", "audio": b"a"}}, 422, "video_unreadable", "read"),
    ({"files": {"video": b"v", "audio": b"a", "face": b"largest"}}, 202, None, None),
    ({"files": {"video": b"v", "audio": b"a", "passwd": b"x"}}, 422, "option_invalid", "passwd"),
    (
        {"files": {"vide": b"v", "audio": b"a"}},
        422,
        "option_invalid",
        "'vide' is neither a file nor an option of a job; vi",
    ),
    ({"files": {"voice": b"v", "video": b"a"}}, 422, "option_invalid", "audio: this file is required"),
    ({"files": [("video", b"v"), ("video", b"v"), ("audio", b"a")]}, 422, "option_invalid", "video"),
    ({"data": {"crf": ["1", "2"]}}, 422, "option_invalid", "crf"),
    ({"data": {"crf": "99"}}, 422, "option_invalid", "crf"),
    ({"data": {"start_s": "10"}}, 422, "option_invalid", "start_s"),
    ({"data": {"start_s": "9.99"}}, 422, "option_invalid", "start_s"),
    ({"data": {"end_s": "11"}}, 422, "option_invalid", "end_s"),
    ({"data": {"metadata": '{"a": 1e999}'}}, 422, "option_invalid", "metadata"),
    ({"data": {"metadata": '{"a": "\\ud800"}'}}, 422, "option_invalid", "metadata"),
    ({"data": {"metadata": '{"a": ' + "[" * 500 + "]" * 500 + "}"}}, 422, "option_invalid", "metadata"),
    ({"data": {"crf": "1" * 20_000}}, 422, "option_invalid", "crf"),
    ({"data": {"face": b"\xff\xfe"}}, 422, "option_invalid", "face"),
    ({"data": {"film_url": "http://127.0.0.1/"}}, 422, "option_invalid", "film_url"),
    ({"files": {"video": b"v" * 100_001, "audio": b"a"}}, 413, "input_too_large", "100000"),
    ({"files": {"video": b"v" * 60_000, "audio": b"a" * 60_000}}, 413, "input_too_large", "100000"),
    ({"files": {"video": b"v" * 3_000_000, "audio": b"a"}}, 413, "input_too_large", "100000"),
    ({"headers": {"Idempotency-Key": "x" * 256}}, 422, "option_invalid", "Idempotency-Key"),
    ({"headers": {"Idempotency-Key": ""}}, 422, "option_invalid", "Idempotency-Key"),
    ({"headers": {"Idempotency-Key": "schl\u00fcssel".encode()}}, 422, "option_invalid", "printable ASCII characters"),
]


@pytest.mark.parametrize(("parts", "status", "code", "named"), REFUSED)
@pytest.mark.parametrize("path", ["/jobs", "/jobs/validate"])
def test_bad_forms(service, path, parts, status, code, named):
    if code is None or ("headers" in parts and path != "/jobs"):
        assert service.post(path, **parts).status_code in (200, 202)
        return
    assert named in assert_problem(service.post(path, **parts), status, code)["detail"]
    assert folders(service) == [], "a refused upload leaves nothing"


BODIES = [
    (b"{}", "application/json", 415),
    (b"a=1", "application/x-www-form-urlencoded", 415),
    (b"x", "multipart/form-data", 415),
    (b"x", "multipart/form-data; boundary=" + "b" * 257, 415),
    (b"x", "multipart/form-data; boundary=" + "b" * 5000, 415),
    (b"x", 'multipart/form-data; boundary=""', 415),
    (b"x", b"multipart/form-data; boundary=\xff\xfe", 422),
    (b"x", "multipart/form-data; boundary*=utf-8''b%FF", 415),
    (b"x", "multipart/form-data; boundary=" + "b" * 256, 422),
    (b"x", "multipart/form-data; boundary=b", 422),
    (b"", "multipart/form-data; boundary=b", 422),
    (b"--b\r\n\r\n\r\n--b--", "multipart/form-data; boundary=b", 422),
    (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b", 422),
    (b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\ncut', "multipart/form-data; boundary=b", 422),
    (b"--b\r\nX: " + b"y" * 70_000 + b"\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b", 422),
]


@pytest.mark.parametrize(("body", "kind", "status"), BODIES)
def test_bodies_that_are_not_a_form(service, body, kind, status):
    assert_problem(service.http.post("/jobs", content=body, headers={"Content-Type": kind}), status, "option_invalid")
    assert folders(service) == []


def test_a_body_without_a_length_is_counted(service):
    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n'
        for _ in range(64):
            yield b"x" * 100_000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert_problem(service.http.post("/jobs", content=endless(), headers=headers), 413, "input_too_large")
    assert folders(service) == []


def test_a_client_that_disconnects_leaves_nothing(service):
    def broken():
        yield b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n' + b"x" * 2_000
        assert wait_until(lambda: folders(service), 5)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        service.http.post("/jobs", content=broken(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    wait_until(lambda: folders(service) == [], 5)


def declared_post(service, size):
    """Begin an upload of that many bytes and send none of them."""
    connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", "/jobs")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    return closing(connection)


def assert_storage_full(connection):
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (507, "storage_full")


def test_a_full_disk_refuses_the_upload_at_once(make_service):
    with declared_post(make_service(max_upload_bytes=10**17), 10**16) as upload:
        assert_storage_full(upload)


def test_a_declared_length_keeps_no_other_upload_out(make_service, tmp_path):
    size = int(shutil.disk_usage(tmp_path).free * 0.6)
    service = make_service(max_upload_bytes=2 * size)
    with ExitStack() as idle:
        for number in range(3):
            idle.enter_context(declared_post(service, size))
            wait_until(lambda number=number: len(folders(service)) > number, 5)
        assert service.post().status_code == 202


def test_a_full_queue_refuses_the_upload_at_once(make_service):
    service = make_service(max_queued_jobs=1)
    assert service.post().status_code == 202
    answer = service.post()
    assert_problem(answer, 503, "queue_full")
    assert int(answer.headers["retry-after"]) > 0


def test_too_many_jobs_of_one_caller_are_refused_at_once(make_service):
    service = make_service(max_active_per_key=1)
    first = service.post(headers={"Idempotency-Key": "once"}).json()["id"]
    answer = service.post()
    assert_problem(answer, 429, "concurrency_limited")
    assert int(answer.headers["retry-after"]) > 0 and folders(service) == [first]
    assert service.post(headers={"Idempotency-Key": "once"}).json()["id"] == first
    service.http.post(f"/jobs/{first}/cancel")
    assert service.post(data={"priority": "high"}).json()["options"]["priority"] == "high"


def test_idempotency_key(service):
    headers = {"Idempotency-Key": "once"}
    first, again = service.post(headers=headers), service.post(headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["idempotency-replayed"] == "true" and "idempotency-replayed" not in first.headers
    for other in ({"data": {"crf": "30"}}, {"files": {"video": b"other", "audio": b"sound"}}):
        assert_problem(service.post(headers=headers, **other), 409, "idempotency_conflict")
    assert folders(service) == [first.json()["id"]]


WRONG_CALLS = [
    ("GET", "/nothing", 404, "not_found"),
    ("PUT", "/jobs", 405, "not_found"),
    ("DELETE", "/jobs", 405, "not_found"),
    ("GET", "/jobs/../../etc/passwd", 404, "not_found"),
    ("GET", "/jobs/%2e%2e%2f%2e%2e%2fetc", 404, "not_found"),
    ("GET", "/jobs/" + "0" * 32, 404, "not_found"),
    ("GET", "/jobs/" + "0" * 32 + "/result", 404, "not_found"),
    ("GET", "/jobs/*/result", 404, "not_found"),
    ("POST", "/jobs/" + "0" * 32 + "/cancel", 404, "not_found"),
    ("POST", "/jobs/" + "0" * 32 + "/retry", 404, "not_found"),
    ("GET", "/jobs/" + "0" * 32 + "/events", 404, "not_found"),
    ("GET", "/jobs/" + "0" * 32 + "?wait=9", 404, "not_found"),
    ("DELETE", "/jobs/" + "0" * 32, 404, "not_found"),
    ("DELETE", "/jobs/%00", 404, "not_found"),
    ("GET", "/jobs/" + "x" * 300, 422, "option_invalid"),
    ("GET", "/jobs?status=lost", 422, "option_invalid"),
    ("GET", "/jobs?limit=0", 422, "option_invalid"),
    ("GET", "/jobs?limit=101", 422, "option_invalid"),
    ("GET", "/jobs?limit=x", 422, "option_invalid"),
    ("GET", "/jobs?cursor=-inf", 422, "option_invalid"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), WRONG_CALLS)
def test_wrong_calls(service, method, path, status, code):
    assert_problem(service.http.request(method, path), status, code)


WRONG_PARAMETERS = [
    ({"path": "/jobs?limit=0"}, "limit: must be at least 1."),
    ({"path": "/jobs?limit=x"}, "limit: must be a whole number."),
    ({"path": "/jobs?cursor=a"}, "cursor: not valid; expected: The `next_cursor` of the page before."),
    ({"path": "/jobs?status=lost"}, "status: must be 'queued', 'running', 'succeeded', 'failed' or 'canceled'."),
    ({"path": "/jobs/{id}?wait=soon"}, "wait: must be a number."),
    (
        {"path": "/jobs/{id}/events", "headers": {"Last-Event-ID": "foo"}},
        "last-event-id: not valid; expected: The id of",
    ),
    (
        {"path": "/links/{id}?expires=1&signature=*"},
        "signature: not valid; expected: The signature, as the link has it.",
    ),
    ({"path": "/links/{id}?expires=1"}, "signature: this field is required."),
    ({"path": "/webhooks/a.b/resend", "method": "POST"}, "webhook_id: not valid; expected: The id of a webhook, as"),
    ({"path": "/uploads", "method": "POST"}, "body: this field is required."),
    ({"path": "/uploads", "method": "POST", "content": b"{"}, "body: must be valid JSON."),
    ({"path": "/uploads", "method": "POST", "json": {"bytes": "1"}}, "bytes: must be a number."),
    ({"path": "/uploads", "method": "POST", "json": {"bytes": 0}}, "bytes: must be more than 0."),
    ({"path": "/uploads", "method": "POST", "json": {"bytes": 1, "name": "a"}}, "name: there is no such field."),
    ({"path": "/uploads", "method": "POST", "json": {"bytes": 1, "a b": "a"}}, "'a b': there is no such field."),
]


@pytest.mark.parametrize(("call", "sentence"), WRONG_PARAMETERS)
def test_wrong_parameters_are_told_in_plain_sentences(service, call, sentence):
    job_id = service.post().json()["id"]
    method, path = call.get("method", "GET"), call["path"].format(id=job_id)
    kind = {"Content-Type": "application/json"} if "content" in call else {}
    rest = {name: value for name, value in call.items() if name not in ("method", "path", "headers")}
    answer = service.http.request(method, path, headers=call.get("headers", kind), **rest)
    assert assert_problem(answer, 422, "option_invalid")["detail"].startswith(sentence)


def test_pages(service):
    ids = [service.post().json()["id"] for _ in range(3)]
    first = service.http.get("/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in first["jobs"]] == [ids[2], ids[1]]
    last = service.http.get("/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert ([job["id"] for job in last["jobs"]], last["next_cursor"]) == ([ids[0]], None)
    service.http.post(f"/jobs/{ids[1]}/cancel")
    canceled = service.http.get("/jobs", params={"status": "canceled"}).json()["jobs"]
    assert [job["id"] for job in canceled] == [ids[1]]


def test_cancel_waiting_and_running(service):
    records = service.services.records
    running, waiting = (service.post().json()["id"] for _ in range(2))
    records.claim("w", "c")
    records.renew(running, 1, "synthesize", Progress(percent=50))
    answers = [service.http.post(f"/jobs/{job_id}/cancel") for job_id in (waiting, running, waiting)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert [answer.json()["status"] for answer in answers] == ["canceled", "running", "canceled"]
    assert records.get(running).cancel_requested


def test_retry(service):
    job_id = service.post().json()["id"]
    body = assert_problem(service.http.post(f"/jobs/{job_id}/retry"), 409, "retry_refused")
    assert "queued" in body["detail"] and "failed" in body["hint"]
    service.http.post(f"/jobs/{job_id}/cancel")
    messages = count_messages(service.services.celery, JOBS_QUEUE)
    answer = service.http.post(f"/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json()["id"], answer.json()["status"]) == (202, job_id, "queued")
    assert answer.json()["queue_position"] == 1
    assert count_messages(service.services.celery, JOBS_QUEUE) == messages + 1
    service.http.post(f"/jobs/{job_id}/cancel")
    service.services.redis.zadd("lipsync:expiry", {job_id: 1})
    service.services.sweeper.sweep_expired()
    assert_problem(service.http.post(f"/jobs/{job_id}/retry"), 410, "result_expired")


@pytest.mark.parametrize("state", [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELED])
def test_delete_in_any_state(service, state):
    job_id = service.post().json()["id"]
    if state is JobStatus.RUNNING:
        service.services.records.claim("w", "c")
    if state is JobStatus.CANCELED:
        service.http.post(f"/jobs/{job_id}/cancel")
    found = service.services.cache.of_job("", job_id).entry("faces")
    found.put(lambda path: path.write_bytes(b"found"))
    assert found.get() is not None
    answer = service.http.delete(f"/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert folders(service) == [] and found.get() is None
    assert_problem(service.http.get(f"/jobs/{job_id}"), 404, "not_found")


def test_another_owner_s_job_is_not_found(service):
    job_id = service.post().json()["id"]
    service.services.redis.hset(f"lipsync:job:{job_id}", "owner", "other")
    assert_problem(service.http.get(f"/jobs/{job_id}"), 404, "not_found")
    assert_problem(service.http.delete(f"/jobs/{job_id}"), 404, "not_found")


def test_validate_keeps_nothing(service):
    answer = service.post("/jobs/validate", data={"crf": "21"})
    body = answer.json()
    assert answer.status_code == 200
    assert (body["options"]["crf"], body["input"]["video"]["width"], body["faces"]) == (21, 640, None)
    assert body["warnings"] == ["No worker was free to look for faces."]
    assert folders(service) == [] and service.http.get("/jobs").json()["jobs"] == []


def answer_validations(services, count):
    """Say that no face was found, as a worker does, until so many validations are answered."""
    with services.celery.connection_for_read() as connection, connection.SimpleQueue(FACES_QUEUE) as queue:
        for _ in range(count):
            message = queue.get(timeout=30)
            store_faces(services.redis, message.payload[0][0], [])
            message.ack()


def test_validations_that_wait_for_a_worker_do_not_block_other_calls(service):
    service.services.records.announce(WORKER)
    count, answers = 45, []  # more than there are threads for blocking calls
    waiting = [
        threading.Thread(target=lambda: answers.append(service.post("/jobs/validate").json()["faces"]))
        for _ in range(count)
    ]
    for thread in waiting:
        thread.start()
    wait_until(lambda: service.services.face_waits.borrowed_tokens == FACE_WAITS, 10)
    started_at = time.monotonic()
    assert service.http.get("/jobs").status_code == 200
    assert time.monotonic() - started_at < FACES_WAIT_S / 2
    answer_validations(service.services, count)
    for thread in waiting:
        thread.join(60)
    assert answers == [[]] * count
    assert folders(service) == []


@pytest.mark.parametrize(("given", "kept"), [("my-id.7", True), ("a b", False), ("x" * 65, False), ("ä", False)])
def test_request_ids(service, given, kept):
    answer = service.http.get("/healthz", headers={"X-Request-ID": given.encode("latin-1")})
    assert (answer.headers["x-request-id"] == given) == kept
    assert answer.headers["x-content-type-options"] == "nosniff"


UNEXPECTED = [
    (RuntimeError("secret /path"), 500, "internal"),
    (MemoryError(), 500, "out_of_memory"),
    (OSError(errno.ENOSPC, "secret"), 507, "storage_full"),
    (PermissionError(errno.EACCES, "secret"), 500, "internal"),
    (ProbeBrokenError(), 503, "out_of_memory"),
]


@pytest.mark.parametrize(("error", "status", "code"), UNEXPECTED)
def test_the_text_of_an_unexpected_error_is_not_sent(make_service, error, status, code):
    def fail(path, sha256):
        raise error

    service = make_service(outside={"prober": Prober(fail, fail)})
    answer = service.post()
    assert_problem(answer, status, code)
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert folders(service) == []


def test_validation_estimates_the_work_from_the_last_jobs(service):
    """The cut_off output of the fake files has 100 frames of 640x480 pixels."""
    assert service.post("/jobs/validate").json()["estimated_work_s"] is None
    service.services.speeds.record(640 * 480, 50, 5.0)
    assert service.post("/jobs/validate").json()["estimated_work_s"] == 10.0
