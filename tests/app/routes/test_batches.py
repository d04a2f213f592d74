from __future__ import annotations

import json
from typing import Any

import pytest

from app.batch_intake import MAX_JOBS
from app.core.settings import Settings
from tests.app.routes.test_jobs import assert_problem

FILES = {"film.mp4": b"moving", "one.wav": b"sound 1", "two.wav": b"sound 2", "bad.mp4": b"bad"}
JOBS: list[dict[str, Any]] = [
    {"video": "film.mp4", "audio": "one.wav"},
    {"video": "film.mp4", "audio": "two.wav", "options": {"crf": 20}},
]


def send(service, jobs, files=None, headers=None, **data):
    """Send a batch; files: else those of FILES that its jobs name."""
    text = jobs if isinstance(jobs, str) else json.dumps(jobs)
    files = files or {name: content for name, content in FILES.items() if f'"{name}"' in text} or FILES
    return service.http.post("/batches", files=files, data={"jobs": text, **data}, headers=headers)


def test_many_jobs_share_their_files(service):
    answer = send(service, JOBS)
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert answer.headers["location"] == f"/batches/{batch['id']}"
    assert batch["counts"] == {"queued": 2} and not batch["ended"]
    jobs = [service.http.get(f"/jobs/{job['id']}").json() for job in batch["jobs"]]
    assert [job["options"]["crf"] for job in jobs] == [18, 20]
    assert jobs[0]["input"]["video"]["sha256"] == jobs[1]["input"]["video"]["sha256"]
    storage = service.services.storage
    for job, sound in zip(batch["jobs"], (b"sound 1", b"sound 2"), strict=True):
        assert storage.fetch(job["id"], "video", service.data_dir).read_bytes() == b"moving"
        assert storage.fetch(job["id"], "audio", service.data_dir).read_bytes() == sound
    first, second = (job["id"] for job in batch["jobs"])
    assert service.http.delete(f"/jobs/{first}").status_code == 204
    assert storage.fetch(second, "video", service.data_dir).read_bytes() == b"moving"
    assert service.http.get(f"/batches/{batch['id']}").json()["counts"] == {"deleted": 1, "queued": 1}
    canceled = service.http.post(f"/batches/{batch['id']}/cancel").json()
    assert canceled["counts"] == {"deleted": 1, "canceled": 1} and canceled["ended"]


REFUSED = [
    ("no JSON", "jobs", 422, "option_invalid", "jobs"),
    ("no list", {"video": "film.mp4"}, 422, "option_invalid", "jobs"),
    ("empty", [], 422, "option_invalid", "jobs"),
    ("too many", [JOBS[0]] * (MAX_JOBS + 1), 422, "option_invalid", "jobs"),
    ("no voice", [{"video": "film.mp4"}], 422, "option_invalid", "jobs[0].audio"),
    ("no such file", [JOBS[0], {"video": "none.mp4", "audio": "one.wav"}], 422, "option_invalid", "jobs[1]: video"),
    ("wrong option", [JOBS[0] | {"options": {"crf": 99}}], 422, "option_invalid", "jobs[0]: crf"),
    ("wrong face", [JOBS[0] | {"options": {"face": "x"}}], 422, "option_invalid", "jobs[0]: face: must be"),
    ("unknown option", [JOBS[0] | {"options": {"color": 1}}], 422, "option_invalid", "jobs[0]: color"),
    (
        "unknown name",
        [JOBS[0] | {"vide": "a"}],
        422,
        "option_invalid",
        "jobs[0].vide: there is no such field; the fields",
    ),
    ("no object", ["film.mp4"], 422, "option_invalid", "jobs[0]: must be a JSON object."),
    ("own webhook", [JOBS[0] | {"options": {"webhook_url": "https://a.example"}}], 422, "option_invalid", "jobs[0]"),
    ("bad file", [JOBS[0], {"video": "bad.mp4", "audio": "one.wav"}], 422, "video_unreadable", "jobs[1]"),
    ("an address", [{"video": "http://a.example/", "audio": "one.wav"}], 422, "url_blocked", ""),
]


@pytest.mark.parametrize(("jobs", "status", "code", "named"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED])
def test_one_wrong_job_refuses_all_and_leaves_nothing(service, jobs, status, code, named):
    before = sorted(service.data_dir.rglob("*"))
    answer = send(service, jobs)
    assert named in assert_problem(answer, status, code)["detail"]
    assert sorted(service.data_dir.rglob("*")) == before
    assert service.services.records.queued_count() == 0


def test_a_file_that_no_job_names_is_refused(service):
    used = {name: FILES[name] for name in ("film.mp4", "one.wav", "two.wav")}
    answer = send(service, JOBS, files=used | {"three.wav": b"sound 3"})
    assert "'three.wav': no job of the batch" in assert_problem(answer, 422, "option_invalid")["detail"]
    voices = [{"start_s": 0, "end_s": 1, "audio": "one.wav"}, {"start_s": 1, "end_s": 2, "audio": "two.wav"}]
    assert send(service, [{"video": "film.mp4", "options": {"segments": voices}}], files=used).status_code == 202


@pytest.mark.parametrize("name", ["../film.mp4", "/etc/passwd", ".hidden", "a" * 101, "jobs/1"])
def test_names_of_files_are_no_paths(service, name):
    answer = send(service, JOBS, files=FILES | {name: b"x"})
    assert "is neither a file" in assert_problem(answer, 422, "option_invalid")["detail"]


def test_the_same_key_is_the_same_batch(service):
    first = send(service, JOBS, headers={"Idempotency-Key": "one"})
    again = send(service, JOBS, headers={"Idempotency-Key": "one"})
    assert again.json()["id"] == first.json()["id"] and again.headers["idempotency-replayed"] == "true"
    assert service.services.records.queued_count() == 2
    assert_problem(send(service, JOBS[:1], headers={"Idempotency-Key": "one"}), 409, "idempotency_conflict")


def test_one_key_of_a_job_and_of_a_batch_is_a_conflict(service):
    files = {"video": b"moving", "audio": b"sound"}
    headers = {"Idempotency-Key": "two"}
    assert service.post(files=files, headers=headers).status_code == 202
    jobs = [{"video": "video", "audio": "audio"}]
    assert_problem(send(service, jobs, files=files, headers=headers), 409, "idempotency_conflict")


def test_the_largest_batch_fits_into_the_usual_limits():
    settings = Settings()
    assert min(settings.max_active_per_key, settings.max_queued_jobs) >= MAX_JOBS


def test_a_batch_that_can_never_be_accepted_is_not_told_to_come_again(make_service):
    service = make_service(max_active_per_key=1)
    assert "at most 1" in assert_problem(send(service, JOBS), 422, "option_invalid")["detail"]
    assert send(service, JOBS[:1]).status_code == 202
    assert_problem(send(service, JOBS[:1]), 429, "concurrency_limited")


def test_an_unknown_batch(service):
    for method, path in (("GET", "/batches/" + "0" * 32), ("POST", "/batches/x/cancel")):
        assert_problem(service.http.request(method, path), 404, "not_found")
