"""Jobs whose option `segments` gives each stretch of the video a voice of its own."""

from __future__ import annotations

import json

import pytest

from tests.app.routes.test_jobs import assert_problem

TWO = [
    {"start_s": 0, "end_s": 2, "audio": "anna", "face": "index:0"},
    {"start_s": 1, "end_s": 5, "audio": "ben", "face": "index:1", "options": {"strength": 0.5}},
]
FILES = {"video": b"moving", "anna": b"a voice", "ben": b"another voice"}


def form(segments=TWO, files=FILES, **others):
    texts = {"segments": (None, json.dumps(segments))} | {name: (None, text) for name, text in others.items()}
    return {name: (name, content) for name, content in files.items()} | texts


def test_each_segment_has_its_voice(service):
    answer = service.post(files=form())
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["input"]["audio"] is None and job["input"]["film_audio"]["bytes"] == len(b"moving")
    assert [voice["bytes"] for voice in job["input"]["segments"]] == [7, 13]
    assert [one["audio"] for one in job["options"]["segments"]] == ["anna", "ben"]
    assert [one["options"]["strength"] for one in job["options"]["segments"]] == [1.0, 0.5]
    assert service.services.storage.names(job["id"]) == ["video", "voice-0", "voice-1"]
    assert service.http.get(f"/jobs/{job['id']}").json()["options"] == job["options"]
    assert service.http.delete(f"/jobs/{job['id']}").status_code == 204
    assert service.services.storage.names(job["id"]) == []


def test_segments_share_a_voice_and_may_take_the_videos_own(service):
    segments = [{"start_s": k, "end_s": k + 1, "audio": name} for k, name in enumerate(["anna", "video", "anna"])]
    answer = service.post(files=form(segments, {"video": b"moving", "anna": b"a voice"}))
    assert answer.status_code == 202, answer.text
    assert service.services.storage.names(answer.json()["id"]) == ["video", "voice-0", "voice-1"]
    assert [voice["bytes"] for voice in answer.json()["input"]["segments"]] == [7, 6, 7]


REFUSED = [
    ("no voice", TWO, {"video": b"v", "anna": b"a"}, {}, "segments[1].audio"),
    ("no use", TWO, FILES | {"carla": b"c"}, {}, "'carla'"),
    ("bad voice", TWO, FILES | {"ben": b"bad"}, {}, "segments[1].audio: The file cannot be read"),
    ("no video", TWO, {"anna": b"a", "ben": b"b"}, {}, "video: this file is required"),
    ("late", [TWO[0] | {"end_s": 11}], {"video": b"v", "anna": b"a"}, {}, "segments[0].end_s"),
    ("empty", [], {"video": b"v"}, {}, "audio: this file is required"),
    ("mode", TWO, FILES, {"sync_mode": "loop"}, "sync_mode"),
    ("a voice for all", TWO, FILES | {"audio": b"a"}, {}, "'audio'"),
]


@pytest.mark.parametrize("path", ["/jobs", "/jobs/validate"])
@pytest.mark.parametrize(
    ("segments", "files", "others", "named"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_a_wrong_segment_is_refused_by_name(service, path, segments, files, others, named):
    answer = service.http.post(path, files=form(segments, files, **others))
    assert answer.status_code == 422, answer.text
    assert named in answer.json()["detail"]
    assert list((service.data_dir / "incoming").iterdir()) == []


def test_who_speaks_is_told_by_the_sound_of_the_video(service):
    answer = service.post(data={"face": "speaking"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["input"]["film_audio"]["bytes"] == len(b"moving")
    assert service.post().json()["input"]["film_audio"] is None


def test_a_file_of_any_name_is_refused_without_segments(service):
    answer = service.post(files={"video": ("v", b"v"), "audio": ("a", b"a"), "anna": ("c", b"c")})
    assert "'anna'" in assert_problem(answer, 422, "option_invalid")["detail"]


def test_the_same_request_is_the_same_job(service):
    key = {"Idempotency-Key": "one"}
    first = service.post(files=form(), headers=key).json()
    assert service.post(files=form(), headers=key).json()["id"] == first["id"]
    other = service.post(files=form(files=FILES | {"ben": b"yet another"}), headers=key)
    assert_problem(other, 409, "idempotency_conflict")


def test_validation_tells_what_becomes_of_the_voices(service):
    answer = service.http.post("/jobs/validate", files=form())
    assert answer.status_code == 200, answer.text
    assert any("segments[0]: The voice is 2.00 s longer" in warning for warning in answer.json()["warnings"])


def batch_form():
    return {name: (name, content) for name, content in FILES.items()}


def test_jobs_of_a_batch_can_have_segments(service):
    jobs: list[dict[str, object]] = [
        {"video": "video", "options": {"segments": TWO}},
        {"video": "video", "audio": "anna"},
        {"video": "video", "options": {"segments": TWO[:1]}},
    ]
    answer = service.http.post("/batches", files=batch_form() | {"jobs": (None, json.dumps(jobs))})
    assert answer.status_code == 202, answer.text
    ids = [job["id"] for job in answer.json()["jobs"]]
    names = [service.services.storage.names(job_id) for job_id in ids]
    assert names == [["video", "voice-0", "voice-1"], ["audio", "video"], ["video", "voice-0"]]
    jobs[2] |= {"audio": "anna"}
    refused = service.http.post("/batches", files=batch_form() | {"jobs": (None, json.dumps(jobs))})
    assert "jobs[2].audio" in assert_problem(refused, 422, "option_invalid")["detail"]
