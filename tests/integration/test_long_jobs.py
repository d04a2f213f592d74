"""A long job is done in segments by whoever is there, and what died is all that is done again."""

from __future__ import annotations

import os
import signal
import time

import pytest

from app.core.records.records import LEASE_S
from tests.service import wait_until


def segment_workers(stack, job_id):
    return stack.services.redis.hgetall(f"lipsync:segments:{job_id}")


def names(stack, job_id):
    return sorted(path.name for path in (stack.data_dir / "jobs" / job_id).iterdir())


def test_segments_are_shared_out_and_joined(bare_stack):
    for _ in range(2):
        bare_stack.start_worker()
    job_id = bare_stack.post(segments=4, seconds=1.5)
    running = wait_until(lambda: 0 < (job := bare_stack.get(job_id))["progress"]["percent"] < 100 and job, 15)
    assert (running["status"], running["progress"]["frames_total"]) == ("running", 400)
    job = bare_stack.wait_for(job_id, "succeeded")
    assert (job["attempt"], job["progress"]["percent"]) == (1, 100)
    assert bare_stack.http.get(job["result"]["url"]).content == b"0 of 4, 1 of 4, 2 of 4, 3 of 4, "
    done_by = segment_workers(bare_stack, job_id)
    assert len({done_by[f"{number}:worker"] for number in range(4)}) == 2
    wait_until(lambda: names(bare_stack, job_id) == ["audio", "result-1.mp4", "video"], 5)


def test_only_the_segment_of_a_killed_worker_is_done_again(bare_stack):
    bare_stack.start_worker()
    job_id = bare_stack.post(segments=3, seconds=3)
    wait_until(lambda: segment_workers(bare_stack, job_id).get("done") == "1", 20)
    (pid,) = bare_stack.child_pids()
    wait_until(lambda: segment_workers(bare_stack, job_id).get("1:state") == "running", 10)
    os.kill(pid, signal.SIGKILL)
    died_at = time.monotonic()
    wait_until(lambda: segment_workers(bare_stack, job_id)["1:attempt"] == "2", 20)
    assert time.monotonic() - died_at < LEASE_S + 30  # the reaper, the message, and what a busy machine adds
    job = bare_stack.wait_for(job_id, "succeeded")
    attempts = segment_workers(bare_stack, job_id)
    assert [attempts[f"{number}:attempt"] for number in range(3)] == ["1", "2", "1"]
    assert (job["attempt"], bare_stack.services.records.counts()["total_lost"]) == (1, 1)


def test_a_worker_told_to_end_hands_its_segment_back(bare_stack):
    first = bare_stack.start_worker()
    job_id = bare_stack.post(segments=2, seconds=60)
    wait_until(lambda: segment_workers(bare_stack, job_id).get("0:state") == "running", 10)
    started = time.monotonic()
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0 and time.monotonic() - started < 40
    assert bare_stack.services.records.counts().get("total_lost", 0) == 0
    assert bare_stack.get(job_id)["status"] == "running"
    assert {segment_workers(bare_stack, job_id)[f"{number}:state"] for number in range(2)} == {"waiting"}


@pytest.mark.parametrize("end", ["cancel", "delete", "fail"])
def test_all_segments_end_with_their_job(bare_stack, end):
    bare_stack.start_worker(workers=2)
    wait_until(lambda: len(bare_stack.child_pids()) == 2, 10)
    job_id = bare_stack.post(segments=4, seconds=60, **({"error": 1} if end == "fail" else {}))
    if end == "fail":
        assert bare_stack.wait_for(job_id, "failed")["error"]["code"] == "face_not_found"
    else:
        wait_until(lambda: len(bare_stack.services.redis.zrange("lipsync:segment_leases", 0, -1)) == 2, 15)
    if end == "cancel":
        assert bare_stack.http.post(f"/jobs/{job_id}/cancel").json()["status"] == "canceled"
    if end == "delete":
        assert bare_stack.http.delete(f"/jobs/{job_id}").status_code == 204
    started = time.monotonic()
    bare_stack.wait_for(bare_stack.post(), "succeeded")  # a child is free again
    wait_until(lambda: not list((bare_stack.data_dir / "work").iterdir()), 5)
    assert time.monotonic() - started < 50  # a segment takes 60 s


def test_a_retry_begins_with_what_is_finished(bare_stack):
    bare_stack.start_worker()
    job_id = bare_stack.post(segments=3, seconds=3)
    wait_until(lambda: segment_workers(bare_stack, job_id).get("done") == "1", 20)
    bare_stack.http.post(f"/jobs/{job_id}/cancel")
    assert bare_stack.http.post(f"/jobs/{job_id}/retry").status_code == 202
    job = bare_stack.wait_for(job_id, "succeeded")
    attempts = segment_workers(bare_stack, job_id)
    assert (job["attempt"], attempts["0:attempt"], attempts["2:attempt"]) == (2, "1", "1")
    assert bare_stack.http.get(job["result"]["url"]).content == b"0 of 3, 1 of 3, 2 of 3, "


def test_a_job_in_segments_past_its_time_fails(bare_stack):
    bare_stack.start_worker(run_timeout_s=4)
    job = bare_stack.wait_for(bare_stack.post(segments=5, seconds=2), "failed", timeout_s=20)
    assert job["error"]["code"] == "run_timeout"
