"""Files that go straight to a bucket, with a real S3 server."""

from __future__ import annotations

import json
import time
from datetime import datetime

import httpx
import pytest

from app.client import Client
from app.core.access.key_store import new_key
from app.core.errors import ErrorCode, LipSyncError
from app.core.records.keys import Key
from app.core.storage.port import UPLOAD
from tests.app.conftest import running_service
from tests.app.routes.test_jobs import assert_problem

FILM, VOICE = b"moving" * 100, b"sound" * 50
NONE = "0" * 32


@pytest.fixture(scope="module")
def stored(redis_url, s3, tmp_path_factory):
    """Return a service with keys whose files are in a bucket."""
    settings = {"redis_url": f"{redis_url}?db=7", "data_dir": tmp_path_factory.mktemp("uploads"), "auth": "keys"}
    with running_service(**settings, **s3.settings("uploads"), max_upload_bytes=5_000) as service:
        yield service


@pytest.fixture
def caller(stored):
    """Return a function that makes a new caller's headers."""
    return lambda: {"X-API-Key": str(stored.services.keys.create(new_key("team")))}


def begin(service, headers, size):
    return service.http.post("/uploads", json={"bytes": size}, headers=headers)


def send(service, headers, content):
    """Upload a file and return its id."""
    answer = begin(service, headers, len(content))
    assert answer.status_code == 201, answer.text
    upload = answer.json()
    sent = httpx.request(upload["method"], upload["url"], headers=upload["headers"], content=content)
    assert sent.status_code == 200, sent.text
    return upload["id"]


def post(service, headers, path="/jobs", **fields):
    return service.http.post(path, files={name: (None, text) for name, text in fields.items()}, headers=headers)


def test_a_job_of_uploads_is_that_of_the_same_files(stored, caller):
    headers = caller() | {"Idempotency-Key": "one"}
    uploads = {"video_upload": send(stored, headers, FILM), "audio_upload": send(stored, headers, VOICE)}
    made = post(stored, headers, **uploads)
    assert made.status_code == 202, made.text
    job = made.json()
    assert (job["input"]["video"]["bytes"], job["input"]["audio"]["bytes"]) == (len(FILM), len(VOICE))
    assert b"".join(stored.services.storage.read(job["id"], "video", 0, 10_000)) == FILM
    again = stored.post(files={"video": FILM, "audio": VOICE}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, job["id"])
    other = post(stored, headers | {"Idempotency-Key": "two"}, **uploads)  # until it expires, it can be used again
    assert other.status_code == 202 and other.json()["id"] != job["id"]


def test_one_upload_can_be_of_every_part_and_beside_files(stored, caller):
    headers = caller()
    upload = send(stored, headers, FILM)
    whole = post(stored, headers, video_upload=upload, audio_upload=upload, audio_mix_upload=upload)
    assert whole.status_code == 202, whole.text
    files = {"video_upload": (None, upload), "audio": ("voice.wav", VOICE)}
    assert stored.http.post("/jobs/validate", files=files, headers=headers).status_code == 200


def test_jobs_of_a_batch_can_name_uploads(stored, caller):
    headers = caller()
    film, voice = send(stored, headers, FILM), send(stored, headers, VOICE)
    jobs = [{"video": f"upload:{film}", "audio": audio} for audio in (f"upload:{voice}", "voice.wav")]
    files = {"jobs": (None, json.dumps(jobs)), "voice.wav": ("voice.wav", VOICE)}
    made = stored.http.post("/batches", files=files, headers=headers)
    assert made.status_code == 202 and len(made.json()["jobs"]) == 2, made.text
    jobs[1]["video"] = f"upload:{NONE}"
    refused = stored.http.post("/batches", files=files | {"jobs": (None, json.dumps(jobs))}, headers=headers)
    assert assert_problem(refused, 422, "option_invalid")["detail"].startswith("jobs[1].video: ")


def test_segments_can_name_uploads(stored, caller):
    headers = caller() | {"Idempotency-Key": "segments"}
    film, voice = send(stored, headers, FILM), f"upload:{send(stored, headers, VOICE)}"
    segments = [{"start_s": k, "end_s": k + 1, "audio": name} for k, name in enumerate([voice, "anna", voice])]
    files = {"video_upload": (None, film), "anna": ("anna", b"a voice"), "segments": (None, json.dumps(segments))}
    made = stored.http.post("/jobs", files=files, headers=headers)
    assert made.status_code == 202, made.text
    job = made.json()
    assert [one["bytes"] for one in job["input"]["segments"]] == [len(VOICE), 7, len(VOICE)]
    assert [one["audio"] for one in job["options"]["segments"]] == ["upload:0", "anna", "upload:0"]
    again = json.dumps(segments).replace(voice, f"upload:{send(stored, headers, VOICE)}")  # the same bytes
    same = stored.http.post("/jobs", files=files | {"segments": (None, again)}, headers=headers)
    assert (same.status_code, same.json()["id"]) == (202, job["id"])
    del headers["Idempotency-Key"]
    assert stored.services.storage.names(job["id"]) == ["video", "voice-0", "voice-1"]
    jobs = [{"video": f"upload:{film}", "options": {"segments": segments}}]
    in_batch = {"anna": files["anna"], "jobs": (None, json.dumps(jobs))}
    assert stored.http.post("/batches", files=in_batch, headers=headers).status_code == 202
    theirs = stored.http.post("/jobs", files=files, headers=caller())
    assert assert_problem(theirs, 422, "option_invalid")["detail"].startswith("video_upload: ")
    segments[1]["audio"] = f"upload:{NONE}"
    del files["anna"]
    refused = stored.http.post("/jobs", files=files | {"segments": (None, json.dumps(segments))}, headers=headers)
    assert assert_problem(refused, 422, "option_invalid")["detail"].startswith("segments[1].audio: ")


def test_the_address_takes_exactly_the_declared_bytes(stored, caller):
    headers = caller()
    upload = begin(stored, headers, 10).json()
    assert upload["max_bytes"] == 10 and upload["headers"] == {"Content-Length": "10"}
    left_s = datetime.fromisoformat(upload["expires_at"]).timestamp() - time.time()
    assert 3000 < left_s <= 3601
    for size in (9, 11):
        assert httpx.put(upload["url"], content=bytes(size)).status_code == 403
    answer = post(stored, headers, video_upload=upload["id"], audio_upload=upload["id"])
    assert_problem(answer, 422, "option_invalid")
    assert "have not arrived" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"bytes": 5_001}, 413, "input_too_large"),
        ({"bytes": 0}, 422, "option_invalid"),
        ({"bytes": "10"}, 422, "option_invalid"),
        ({}, 422, "option_invalid"),
        ({"bytes": 10, "owner": "x"}, 422, "option_invalid"),
    ],
)
def test_wrong_wishes_are_refused(stored, caller, body, status, code):
    assert_problem(stored.http.post("/uploads", json=body, headers=caller()), status, code)


def test_uploads_count_with_the_other_files(stored, caller):
    headers = caller()
    large = send(stored, headers, b"l" * 4_000)
    files = {"video_upload": (None, large), "audio": ("voice.wav", b"s" * 1_500)}
    assert_problem(stored.http.post("/jobs", files=files, headers=headers), 413, "input_too_large")
    two = post(stored, headers, video_upload=large, audio_upload=send(stored, headers, b"m" * 4_000))
    assert_problem(two, 413, "input_too_large")


def test_the_upload_of_another_is_like_none(stored, caller):
    mine, theirs = caller(), caller()
    upload = send(stored, mine, FILM)
    answers = []
    for upload_id in (upload, NONE, "nonsense"):
        answer = post(stored, theirs, video_upload=upload_id, audio_upload=upload_id)
        assert_problem(answer, 422, "option_invalid")
        answers.append(answer.json() | {"request_id": ""})
        assert_problem(stored.http.delete(f"/uploads/{upload_id}", headers=theirs), 404, "not_found")
    assert answers[0] == answers[1] == answers[2]
    assert stored.http.delete(f"/uploads/{upload}", headers=mine).status_code == 204
    assert stored.services.storage.names(upload) == []
    assert_problem(stored.http.delete(f"/uploads/{upload}", headers=mine), 404, "not_found")


def test_two_sources_of_one_part_are_too_much(stored, caller):
    headers = caller()
    upload = send(stored, headers, FILM)
    files = {"video_upload": (None, upload), "video": ("film.mp4", FILM), "audio_upload": (None, upload)}
    assert_problem(stored.http.post("/jobs", files=files, headers=headers), 422, "option_invalid")


def test_an_upload_is_no_address(stored, caller):
    headers = caller()
    upload = send(stored, headers, FILM)
    refused = post(stored, headers, video_url=f"upload:{upload}", audio_upload=upload)
    assert "video_upload" in assert_problem(refused, 422, "url_blocked")["detail"]


def test_an_owner_has_a_limited_number_of_bytes_in_uploads(stored, caller):
    headers = caller()
    for _ in range(10):
        upload = begin(stored, headers, 5_000)
        assert upload.status_code == 201
    assert_problem(begin(stored, headers, 1), 429, "concurrency_limited")
    assert begin(stored, caller(), 1).status_code == 201
    assert stored.http.delete(f"/uploads/{upload.json()['id']}", headers=headers).status_code == 204
    assert begin(stored, headers, 1).status_code == 201


def test_an_upload_that_expires_is_removed(stored, caller):
    headers = caller()
    redis, storage = stored.services.redis, stored.services.storage
    upload, late = send(stored, headers, FILM), begin(stored, headers, len(FILM)).json()
    stored.http.delete(f"/uploads/{late['id']}", headers=headers)
    assert httpx.put(late["url"], content=FILM).status_code == 200  # its address still works
    for upload_id in (upload, late["id"]):
        assert redis.zadd(Key.UPLOADS, {upload_id: 1}, ch=True) == 1
    redis.pexpire(Key.UPLOAD + upload, 1)
    stored.services.sweeper.sweep_expired()
    assert storage.names(upload) == storage.names(late["id"]) == []
    assert_problem(post(stored, headers, video_upload=upload, audio_upload=upload), 422, "option_invalid")


def test_a_failed_job_of_uploads_leaves_nothing_here(stored, caller):
    headers = caller()
    bad = send(stored, headers, b"bad")
    before = sorted(stored.data_dir.rglob("*"))
    assert_problem(post(stored, headers, video_upload=bad, audio_upload=bad), 422, "video_unreadable")
    assert sorted(stored.data_dir.rglob("*")) == before
    assert stored.services.storage.names(bad) == [UPLOAD]


def test_a_folder_takes_no_uploads(service):
    assert_problem(service.http.post("/uploads", json={"bytes": 10}), 409, "upload_unavailable")
    assert service.http.get("/info").json()["direct_uploads"] is False
    answer = service.http.post("/jobs", files={"video_upload": (None, NONE), "audio_upload": (None, NONE)})
    assert_problem(answer, 422, "option_invalid")


def test_the_client_sends_files_through_the_bucket(stored, service, caller, tmp_path):
    film, voice = tmp_path / "film.mp4", tmp_path / "voice.wav"
    film.write_bytes(FILM)
    voice.write_bytes(VOICE)
    with Client(stored.url, caller()["X-API-Key"]) as client:
        assert client.info()["direct_uploads"] is True
        job = client.submit(film, voice, {"crf": 20}, via_storage=True)
        assert job["input"]["video"]["bytes"] == len(FILM) and job["options"]["crf"] == 20
    with Client(service.url) as client, pytest.raises(LipSyncError) as caught:
        client.submit(film, voice, via_storage=True)
    assert caught.value.code == ErrorCode.UPLOAD_UNAVAILABLE
