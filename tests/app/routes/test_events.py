from __future__ import annotations

import json
import threading

import httpx
import pytest

from app.core.jobs import Progress
from tests.app.routes.test_jobs import assert_problem
from tests.app.routes.test_results import REPORT, RESULT
from tests.service import running_redis, wait_until


def parse(lines):
    """Yield id, name and data of each server-sent event, without comments and the reconnection time."""
    fields = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])
            fields = {}


class Listener:
    """Thread that follows a job and collects its events."""

    def __init__(self, service, job_id, **headers):
        self.events, self.is_open, self.error = [], False, None
        self._thread = threading.Thread(target=self._run, args=(service, job_id, headers))
        self._thread.start()

    def _run(self, service, job_id, headers):
        try:
            with service.http.stream("GET", f"/jobs/{job_id}/events", headers=headers, timeout=60) as answer:
                assert answer.status_code == 200, answer.read()
                assert answer.headers["content-type"].startswith("text/event-stream")
                assert answer.headers["cache-control"] == "no-store"
                self.is_open = True
                for event in parse(answer.iter_lines()):
                    self.events.append(event)
        except (httpx.HTTPError, AssertionError) as error:
            self.error = error

    def names(self):
        return [summary(event) for event in self.events]

    def wait_for(self, name):
        wait_until(lambda: name in self.names() or self.error, 10)
        assert self.error is None

    def join(self):
        self._thread.join(60)
        assert not self._thread.is_alive() and self.error is None
        return self.names()


def summary(event):
    _, name, data = event
    detail = data["percent"] if name == "progress" else data["status"]
    return f"{name} {detail}"


def post(service):
    return service.post().json()["id"]


def beat(service, job_id, percent, attempt=1):
    service.services.records.renew(job_id, attempt, "synthesize", Progress(percent=percent))


def test_a_listener_gets_all_events_of_a_job(service):
    records = service.services.records
    job_id = post(service)
    listener = Listener(service, job_id)
    listener.wait_for("status queued")
    records.claim("w", "c")
    listener.wait_for("status running")
    beat(service, job_id, 10)
    beat(service, job_id, 10)
    listener.wait_for("progress 10.0")
    beat(service, job_id, 20)
    listener.wait_for("progress 20.0")
    records.succeed(job_id, 1, RESULT, REPORT, [])
    assert listener.join() == [
        "status queued",
        "status running",
        "progress 10.0",
        "progress 20.0",
        "progress 100.0",
        "status succeeded",
        "end succeeded",
    ]
    assert len({event_id for event_id, _, _ in listener.events}) == 7
    progress = listener.events[3][2]
    assert (progress["stage"], progress["attempt"], progress["at"][-1]) == ("synthesize", 1, "Z")
    assert progress.keys() >= {"frames_done", "frames_total", "fps", "eta_s"}


ENDS = [
    (
        lambda records, job_id: records.fail(job_id, 1, {"code": "out_of_memory", "message": "m"}),
        "failed",
        "out_of_memory",
    ),
    (lambda records, job_id: records.cancel(job_id) and records.end_canceled(job_id, 1), "canceled", None),
]


@pytest.mark.parametrize(("end", "status", "code"), ENDS)
def test_the_end_says_why(service, end, status, code):
    job_id = post(service)
    service.services.records.claim("w", "c")
    end(service.services.records, job_id)
    listener = Listener(service, job_id)
    assert listener.join()[-2:] == [f"status {status}", f"end {status}"]
    error = listener.events[-1][2]["error"]
    assert (error and error["code"]) == code


def test_replay_continues_after_the_last_event(service):
    records = service.services.records
    job_id = post(service)
    records.claim("w", "c")
    for percent in range(10):
        beat(service, job_id, percent + 1)
    records.succeed(job_id, 1, RESULT, REPORT, [])
    whole = Listener(service, job_id)
    assert whole.join() == ["status queued", "status running", "progress 100.0", "status succeeded", "end succeeded"], (
        "the latest progress"
    )
    for position, (event_id, _, _) in enumerate(whole.events[:-1]):
        assert Listener(service, job_id, **{"Last-Event-ID": event_id}).join() == whole.names()[position + 1 :]
    for last in (whole.events[-1][0], "999999999999999-0"):
        answer = service.http.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": last})
        assert (answer.status_code, answer.content) == (204, b""), "a browser stops asking"


def test_a_last_event_id_from_the_future_gets_all_later_events(service):
    job_id = post(service)
    listener = Listener(service, job_id, **{"Last-Event-ID": "999999999999999-0"})
    wait_until(lambda: listener.is_open, 10)
    service.http.post(f"/jobs/{job_id}/cancel")
    assert listener.join() == ["status canceled", "end canceled"]


def test_events_of_a_retry_follow_the_earlier_end(service):
    job_id = post(service)
    service.http.post(f"/jobs/{job_id}/cancel")
    first = Listener(service, job_id)
    assert first.join()[-1] == "end canceled"
    assert service.http.post(f"/jobs/{job_id}/retry").status_code == 202
    again, anew = Listener(service, job_id, **{"Last-Event-ID": first.events[-1][0]}), Listener(service, job_id)
    again.wait_for("status queued")
    service.http.post(f"/jobs/{job_id}/cancel")
    assert again.join() == anew.join() == ["status queued", "status canceled", "end canceled"]


@pytest.mark.parametrize("last", ["x", "1", "-1-0", "1-2-3", "1" * 16 + "-0", "$", "*"])
def test_malformed_event_ids_are_refused(service, last):
    answer = service.http.get(f"/jobs/{post(service)}/events", headers={"Last-Event-ID": last})
    assert_problem(answer, 422, "option_invalid")


def test_another_s_job_is_not_found(service):
    job_id = post(service)
    service.services.redis.hset(f"lipsync:job:{job_id}", "owner", "other")
    for path in (f"/jobs/{job_id}/events", f"/jobs/{'0' * 32}/events"):
        assert_problem(service.http.get(path), 404, "not_found")


def test_listeners_do_not_block_other_calls(service):
    job_id = post(service)
    listeners = [Listener(service, job_id) for _ in range(60)]  # more than there are threads for blocking calls
    for listener in listeners:
        listener.wait_for("status queued")
    assert service.http.get(f"/jobs/{job_id}", timeout=30).status_code == 200
    service.http.post(f"/jobs/{job_id}/cancel")
    assert {listener.join()[-1] for listener in listeners} == {"end canceled"}


class Held:
    """Thread that polls a job with `wait`."""

    def __init__(self, service, job_id, wait_s):
        self.answer = None
        self._service = service
        self._thread = threading.Thread(target=self._run, args=(job_id, wait_s))
        self._thread.start()

    def _run(self, job_id, wait_s):
        self.answer = self._service.http.get(f"/jobs/{job_id}", params={"wait": wait_s}, timeout=120)

    def wait_until_sent(self):
        wait_until(lambda: self._service.services.listeners.count > 0, 10)

    def join(self):
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.answer


CHANGES = [
    ("canceled while it waits", False, lambda records, job_id: records.cancel(job_id), "canceled"),
    ("claimed", False, lambda records, job_id: records.claim("w", "c2"), "running"),
    ("progress", True, lambda records, job_id: records.renew(job_id, 1, "encode", Progress(percent=7)), "running"),
    ("handed back", True, lambda records, job_id: records.hand_back(job_id, 1), "queued"),
    (
        "ended",
        True,
        lambda records, job_id: records.fail(
            job_id, 1, {"code": "internal", "message": "m", "stage": None, "retryable": True, "hint": "h"}
        ),
        "failed",
    ),
    ("deleted", True, lambda records, job_id: records.delete(job_id), None),
]


@pytest.mark.parametrize(("is_running", "change", "status"), [row[1:] for row in CHANGES], ids=[r[0] for r in CHANGES])
def test_wait_holds_until_the_job_changes(service, is_running, change, status):
    job_id = post(service)
    if is_running:
        service.services.records.claim("w", "c")
    held = Held(service, job_id, 60 if status else 1)
    held.wait_until_sent()
    change(service.services.records, job_id)
    if status is None:
        assert_problem(held.join(), 404, "not_found")
    else:
        assert held.join().json()["status"] == status


def test_wait_ends_in_time_and_at_once_after_the_end(service):
    job_id = post(service)
    assert service.http.get(f"/jobs/{job_id}?wait=0.2").json()["status"] == "queued"
    service.http.post(f"/jobs/{job_id}/cancel")
    assert service.http.get(f"/jobs/{job_id}?wait=60", timeout=30).json()["status"] == "canceled"
    assert service.services.listeners.count == 0


def test_at_the_limit_listeners_are_refused_and_waits_do_not_hold(service):
    job_id, listeners, most = post(service), service.services.listeners, service.services.settings.max_listeners
    listeners.count += most
    try:
        answer = service.http.get(f"/jobs/{job_id}/events")
        assert_problem(answer, 429, "rate_limited")
        assert answer.headers["retry-after"]
        assert service.http.get(f"/jobs/{job_id}?wait=60", timeout=30).status_code == 200
    finally:
        listeners.count -= most


@pytest.mark.parametrize("wait", ["61", "-1", "nan", "inf", "x", ""])
def test_wrong_waits_are_refused(service, wait):
    assert_problem(service.http.get(f"/jobs/{post(service)}?wait={wait}"), 422, "option_invalid")


def test_redis_stops_in_the_middle(make_service, tmp_path, tmp_path_factory):
    data = tmp_path_factory.mktemp("redis")
    with running_redis(data) as url:
        service = make_service(redis_url=url, data_dir=tmp_path / "files")
        job_id = post(service)
        listener, held = Listener(service, job_id), Held(service, job_id, 60)
        listener.wait_for("status queued")
        held.wait_until_sent()
    assert listener.join() == ["status queued"], "the stream ends without an error"
    assert_problem(held.join(), 503, "internal")
    headers = {"Last-Event-ID": listener.events[-1][0]}
    for path in ("", "?wait=5", "/events"):
        answer = service.http.get(f"/jobs/{job_id}{path}", headers=headers)
        assert_problem(answer, 503, "internal")
        assert answer.headers["retry-after"]
    assert_problem(service.http.post(f"/jobs/{job_id}/retry"), 503, "internal")
    with running_redis(data, url):
        again = Listener(service, job_id, **headers)
        wait_until(lambda: again.is_open, 10)
        service.http.post(f"/jobs/{job_id}/cancel")
        assert again.join() == ["status canceled", "end canceled"]
