"""Webhooks from the end of a job to a real receiver on this host, checked by the published library."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from app.core.jobs import JobOptions, new_job_id
from app.core.outgoing.signatures import new_secret
from app.core.records.keys import Key
from app.core.records.webhooks import PAUSES_S, Webhooks
from app.core.settings import Settings
from app.outgoing_clients import webhook_client
from app.webhook_sender import SecretSource, WebhookSender
from tests.app.routes.test_jobs import assert_problem
from tests.service import INPUT, wait_until

SECRETS = (new_secret(), new_secret())


class Receiver:
    """HTTP server that keeps what it receives and answers with the statuses that it is given, then with 204."""

    def __init__(self):
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((dict(self.headers), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def messages(self):
        """Return what was received, each checked with both secrets."""
        found = []
        for headers, body in self.received:
            lower = {name.lower(): value for name, value in headers.items()}
            for secret in SECRETS:
                Verifier(secret).verify(body, lower)
            found.append((lower["webhook-id"], json.loads(body)))
        return found


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture
def told(make_service, receiver, redis_url):
    """Return a service that may send webhooks to the receiver, on a database that no other service shares."""
    allowed = {"webhook_hosts": ("127.0.0.1",), "outgoing_ports": (80, 443, receiver.port)}
    service = make_service(redis_url=f"{redis_url}?db=6", webhook_secret=SECRETS, **allowed)
    service.services.redis.flushdb()
    return service


def canceled_job(service, url):
    answer = service.post(data={"webhook_url": url})
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    assert service.http.post(f"/jobs/{job_id}/cancel").status_code == 202
    return job_id


def test_the_end_of_a_job_is_told_once_and_signed(told, receiver):
    job_id = canceled_job(told, receiver.url)
    wait_until(lambda: receiver.received, 10)
    ((event_id, message),) = receiver.messages()
    assert event_id.startswith(job_id) and message["type"] == "job.canceled"
    assert message["data"] == told.http.get(f"/jobs/{job_id}").json()
    wait_until(lambda: told.services.redis.zcard(Key.WEBHOOKS) == 0, 10)


def make_due(service):
    for event_id in service.services.redis.zrange(Key.WEBHOOKS, 0, -1):
        service.services.redis.zadd(Key.WEBHOOKS, {event_id: 0}, xx=True)


def test_a_repeat_has_the_same_id_and_body_whatever_became_of_the_job(told, receiver):
    receiver.statuses = [500, 302]
    job_id = canceled_job(told, receiver.url)
    wait_until(lambda: len(receiver.received) == 1, 10)
    assert told.http.delete(f"/jobs/{job_id}").status_code == 204
    for count in (2, 3):
        wait_until(lambda: make_due(told) or len(receiver.received) >= count, 10)  # noqa: B023
    first, second, third = receiver.messages()
    assert first == second == third


@pytest.mark.parametrize("status", [410, 500])
def test_an_undelivered_webhook_is_listed_and_sent_again(told, receiver, status):
    tries = 1 if status == 410 else len(PAUSES_S) + 1
    receiver.statuses = [status] * tries
    job_id = canceled_job(told, receiver.url)

    def failed():
        make_due(told)
        return told.http.get("/webhooks/failed").json()["webhooks"]

    (webhook,) = wait_until(failed, 30)
    assert (webhook["subject"], webhook["tries"]) == (job_id, tries) and str(status) in webhook["answer"]
    assert told.http.post(f"/webhooks/{webhook['id']}/resend").status_code == 202
    wait_until(lambda: len(receiver.received) == tries + 1, 10)
    assert receiver.messages()[-1][0] == webhook["id"]
    assert told.http.get("/webhooks/failed").json() == {"webhooks": []}
    assert_problem(told.http.post(f"/webhooks/{webhook['id']}/resend"), 404, "not_found")


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:{port}/hook",
        "http://[::ffff:10.0.0.1]:{port}/hook",
        "http://localhost:{port}/",
        "ftp://127.0.0.1/",
        "http://user@127.0.0.1:{port}/",
        "http://127.0.0.1:22/",
        "nothing",
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/jobs/validate", "/batches"])
def test_addresses_that_can_never_be_called_are_refused_at_the_door(told, receiver, url, path):
    own = {"jobs": '[{"video": "video", "audio": "audio"}]'} if path == "/batches" else {}
    answer = told.post(path, data={"webhook_url": url.format(port=receiver.port)} | own)
    problem = assert_problem(answer, 422, "url_blocked")
    assert problem["detail"].startswith("webhook_url: The ") and "LIPSYNC_WEBHOOK_HOSTS" in problem["hint"]


def test_a_name_that_leads_inside_is_never_reached(told, receiver):
    canceled_job(told, f"http://localhost.localdomain:{receiver.port}/")
    wait_until(lambda: tries(told) > 0, 20)
    assert receiver.received == []


def tries(service):
    (event_id,) = service.services.redis.zrange(Key.WEBHOOKS, 0, -1)
    return int(service.services.redis.hget(Key.WEBHOOK + event_id, "tries"))


def waiting_webhook(records, redis_client, url):
    """Return the store of webhooks, and the one that the end of a new job lets wait."""
    created = records.create(new_job_id(), "", INPUT, JobOptions(webhook_url=url))
    records.cancel(created.job_id)
    webhooks = Webhooks(redis_client, 60)
    (webhook,) = webhooks.take(9)
    return webhooks, webhook


class Empty:
    """Content of webhooks that say nothing."""

    def data(self, webhook):
        return {}


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (500, "webhook not delivered id={id} host=127.0.0.1 tries=1 next_try_s=5 reason='The receiver answered 500.'"),
        (410, "webhook put aside id={id} host=127.0.0.1 tries=1 reason='The receiver answered 410.'"),
    ],
)
def test_each_failed_try_is_a_warning_without_secrets(records, redis_client, receiver, caplog, status, line):
    receiver.statuses = [status]
    webhooks, webhook = waiting_webhook(records, redis_client, f"{receiver.url}/secret?token=secret")
    settings = Settings(webhook_hosts=("127.0.0.1",), outgoing_ports=(receiver.port,))
    WebhookSender(webhooks, Empty(), SecretSource(None, SECRETS), webhook_client(settings)).send_one(webhook)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", line.format(id=webhook.id))


def test_a_webhook_without_a_secret_is_kept_and_can_be_sent_later(records, redis_client, receiver, caplog):
    webhooks, webhook = waiting_webhook(records, redis_client, receiver.url)
    client = webhook_client(Settings(webhook_hosts=("127.0.0.1",), outgoing_ports=(receiver.port,)))
    WebhookSender(webhooks, Empty(), SecretSource(None, ()), client).send_one(webhook)
    assert "webhook put aside" in caplog.text and "secret to sign" in caplog.text and receiver.received == []
    (failed,) = webhooks.failed("")
    assert (failed.id, failed.answer) == (webhook.id, "There is no secret to sign the message with.")
    webhooks.resend("", failed.id)
    (again,) = webhooks.take(9)
    WebhookSender(webhooks, Empty(), SecretSource(None, SECRETS), client).send_one(again)
    ((event_id, _),) = receiver.messages()
    assert event_id == webhook.id and webhooks.failed("") == []


def test_without_a_secret_nothing_is_promised(service):
    assert_problem(service.post(data={"webhook_url": "https://team.example/hook"}), 422, "option_invalid")


def test_a_fault_of_the_service_is_logged_and_counts_as_a_try(records, redis_client, caplog):
    class Faulty:
        def data(self, webhook):
            raise KeyError(webhook.id)

    records.create(new_job_id(), "", INPUT, JobOptions(webhook_url="https://team.example/hook"))
    records.cancel(records.page("", None, 1, None)[0][0].id)
    webhooks = Webhooks(redis_client, 60)
    sender = WebhookSender(webhooks, Faulty(), SecretSource(None, SECRETS), webhook_client(Settings()))
    sender.run_once()
    (event_id,) = redis_client.zrange(Key.WEBHOOKS, 0, -1)
    wait_until(lambda: redis_client.hget(Key.WEBHOOK + event_id, "tries") == "1", 5)
    assert "unexpected" in caplog.text and "KeyError" in caplog.text
