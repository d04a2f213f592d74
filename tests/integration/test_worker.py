"""A real worker process does jobs that came over HTTP."""

from __future__ import annotations

import time
from itertools import pairwise
from statistics import median

import pytest

from app.core.queue import send_job
from tests.service import wait_until


def work_folders(stack):
    return list((stack.data_dir / "work").iterdir())


def test_a_job_succeeds_and_leaves_only_its_result(stack):
    job_id = stack.post(seconds=4)
    running = wait_until(lambda: (job := stack.get(job_id))["progress"]["frames_done"] > 0 and job, 10)
    assert (running["status"], running["stage"], running["attempt"]) == ("running", "synthesize", 1)
    job = stack.wait_for(job_id, "succeeded")
    assert (job["progress"]["percent"], job["warnings"], job["report"]["checkpoint"]) == (100, ["quick"], "quick")
    assert stack.http.get(job["result"]["url"]).content == b"mp4 of moving"
    names = sorted(path.name for path in (stack.data_dir / "jobs" / job_id).iterdir())
    assert names == ["audio", "result-1.mp4", "video"]
    wait_until(lambda: not work_folders(stack), 5)


def test_progress_changes_every_second(stack):
    job_id = stack.post(seconds=6)
    stack.wait_for(job_id, "running")
    seen: list[tuple[float, int]] = []
    while (job := stack.get(job_id))["status"] == "running":
        if not seen or seen[-1][1] != job["progress"]["frames_done"]:
            seen.append((time.monotonic(), job["progress"]["frames_done"]))
        time.sleep(0.05)
    gaps = [later[0] - earlier[0] for earlier, later in pairwise(seen)]
    assert len(gaps) >= 2 and median(gaps) <= 2.0  # 0.7 s, and what a busy machine adds


@pytest.mark.parametrize(
    ("kind", "code", "retryable"), [("input", "no_face_detected", False), ("bug", "internal", True)]
)
def test_a_failure_is_told_by_its_code(stack, kind, code, retryable):
    job = stack.wait_for(stack.post(error=kind), "failed")
    assert (job["error"]["code"], job["error"]["retryable"]) == (code, retryable)
    assert "secret" not in str(job)
    assert (stack.data_dir / "jobs" / job["id"] / "video").exists(), "the upload stays until it expires"


def test_a_running_job_is_canceled_within_seconds(stack):
    job_id = stack.post(seconds=60)
    stack.wait_for(job_id, "running")
    lost = stack.services.records.counts().get("total_lost", 0)
    assert stack.http.post(f"/jobs/{job_id}/cancel").status_code == 202
    stack.wait_for(job_id, "canceled", timeout_s=5)
    assert stack.services.records.counts().get("total_lost", 0) == lost, "the worker stopped, before its lease ended"
    wait_until(lambda: not work_folders(stack), 5)


def test_a_canceled_job_is_tried_again_and_succeeds_once(stack):
    job_id = stack.post(seconds=3)
    stack.wait_for(job_id, "running")
    stack.http.post(f"/jobs/{job_id}/cancel")
    stack.wait_for(job_id, "canceled", timeout_s=5)
    assert stack.http.post(f"/jobs/{job_id}/retry").status_code == 202
    job = stack.wait_for(job_id, "succeeded")
    assert (job["attempt"], job["error"]) == (2, None)
    assert stack.http.get(job["result"]["url"]).content == b"mp4 of moving"
    names = sorted(path.name for path in (stack.data_dir / "jobs" / job_id).iterdir())
    assert names == ["audio", "result-2.mp4", "video"]


def test_a_job_deleted_while_it_runs_leaves_nothing(stack):
    job_id = stack.post(seconds=60)
    stack.wait_for(job_id, "running")
    assert stack.http.delete(f"/jobs/{job_id}").status_code == 204
    wait_until(lambda: not work_folders(stack), 5)
    assert not (stack.data_dir / "jobs" / job_id).exists()
    stack.wait_for(stack.post(), "succeeded")


def test_a_message_delivered_again_does_nothing(stack):
    job_id = stack.post(seconds=0.5)
    for _ in range(3):
        send_job(stack.services.celery, job_id)
    done = stack.wait_for(job_id, "succeeded")
    stack.wait_for(stack.post(), "succeeded")  # behind the repeated messages
    assert stack.get(job_id) == done


def test_validate_asks_a_worker_for_faces(stack):
    answer = stack.http.post("/jobs/validate", files={"video": b"moving", "audio": b"sound"}).json()
    assert answer["faces"] == [{"index": 0, "x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0, "score": 0.9, "at_s": 0.0}]
    assert answer["warnings"] == []


def test_ready_and_info_know_the_worker(stack):
    assert stack.http.get("/readyz").status_code == 200
    (facts,) = stack.http.get("/info").json()["workers"]
    assert (facts["device"], facts["checkpoint"], len(facts["checkpoint_sha256"])) == ("cpu", "quick_worker.py", 64)
