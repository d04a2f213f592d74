"""The thread that sends webhooks: signed messages (Standard Webhooks) that tell the end of a job or a batch.

It runs in the API and not in the workers: workers need no way out of their network, and a worker that is busy for an
hour must not delay a message. Celery's delayed tasks would not do either: over Redis a delay longer than the visibility
timeout is delivered twice. What waits, when and how often it was tried is in Redis (`app.core.records.webhooks`), so
nothing is lost with a process.

A try that fails is repeated after a pause, or later if the receiver asks for it (`Retry-After`). After two hours the
webhook is put aside and can be listed and sent again. `410 Gone` puts it aside at once, and so does a secret that is
missing. Each try that fails is a warning in the log.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import redis

from app.core.access.key_store import KeyStore
from app.core.errors import InputError
from app.core.housekeeping.periodic import PeriodicThread
from app.core.outgoing.client import OutgoingClient
from app.core.outgoing.policy import OutgoingPolicy
from app.core.outgoing.send import send
from app.core.outgoing.signatures import signed_headers
from app.core.records.webhooks import Webhook, Webhooks

SEND_INTERVAL_S: Final = 0.5
AT_ONCE: Final = 8
GONE: Final = 410


class Content(Protocol):
    """What a webhook tells of its subject."""

    def data(self, webhook: Webhook) -> dict[str, Any]:
        """Return the subject as its owner sees it, or its id and status if it is gone or has changed since."""


class SecretSource:
    """Secrets that sign the webhooks of an owner: those of its key, or those of the settings without keys."""

    def __init__(self, keys: KeyStore | None, secrets: tuple[str, ...]) -> None:
        self._keys = keys
        self._secrets = list(secrets)

    def of(self, owner: str) -> list[str]:
        """Return the secrets, none if there are none; may raise `redis.RedisError`."""
        return self._secrets if self._keys is None else self._keys.webhook_secrets(owner)


class WebhookSender(PeriodicThread):
    """Thread that sends the webhooks that are due, several at once."""

    def __init__(
        self,
        webhooks: Webhooks,
        content: Content,
        secrets: SecretSource,
        client: OutgoingClient,
        interval_s: float = SEND_INTERVAL_S,
    ) -> None:
        super().__init__("webhooks", interval_s, (redis.RedisError,), stop_timeout_s=2)
        self._webhooks, self._content, self._secrets, self._client = webhooks, content, secrets, client
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook")
        self._running: set[Future[None]] = set()

    @property
    def policy(self) -> OutgoingPolicy:
        """Return which addresses may be called."""
        return self._client.policy

    def run_once(self) -> None:
        """Send what is due, unless all threads are busy; a slow receiver delays no other one until then."""
        self._running = {future for future in self._running if not future.done()}
        free = AT_ONCE - len(self._running)
        for webhook in self._webhooks.take(free) if free else []:
            self._running.add(self._pool.submit(self._try, webhook))

    def stop(self) -> None:
        """Stop; tries that have not ended are repeated by another process after their lease."""
        super().stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _try(self, webhook: Webhook) -> None:
        try:
            self.send_one(webhook)
        except redis.RedisError as error:  # it is due again after its lease
            self._log.warning("webhook left id=%s error=%s", webhook.id, type(error).__name__)
        except Exception as error:  # noqa: BLE001  nobody asks for the outcome of this thread: it would be lost
            self._log.error("unexpected webhook=%s", webhook.id, exc_info=error)
            with suppress(redis.RedisError):
                self._delay(webhook, "The message could not be sent because of a fault of this service.")

    def send_one(self, webhook: Webhook) -> None:
        """Send a webhook once and record what became of it; may raise `redis.RedisError`."""
        secrets = self._secrets.of(webhook.owner)
        if not secrets:  # its key was revoked, or the service was started again without one
            self._delay(webhook, "There is no secret to sign the message with.", is_last=True)
            return
        body = (webhook.body or self._webhooks.keep_body(webhook.id, self._body(webhook))).encode()
        headers = signed_headers(webhook.id, int(time.time()), body, secrets) | {"Content-Type": "application/json"}
        try:
            answer = send(self._client, webhook.url, body, headers)
        except InputError as error:
            self._delay(webhook, error.message)
            return
        if answer.is_accepted:
            self._webhooks.end(webhook.id)
            self._log.info("webhook sent id=%s tries=%d", webhook.id, webhook.tries + 1)
        else:
            told, is_last = f"The receiver answered {answer.status}.", answer.status == GONE
            self._delay(webhook, told, is_last=is_last, least_s=answer.retry_after_s)

    def _delay(self, webhook: Webhook, answer: str, *, is_last: bool = False, least_s: int | None = None) -> None:
        next_s = self._webhooks.delay(webhook.id, answer, is_last=is_last, least_s=least_s)
        if next_s is None:
            return
        tried = f"id={webhook.id} host={urlsplit(webhook.url).hostname} tries={webhook.tries + 1}"
        if next_s:
            self._log.warning("webhook not delivered %s next_try_s=%d reason=%r", tried, next_s, answer)
        else:
            self._log.warning("webhook put aside %s reason=%r", tried, answer)

    def _body(self, webhook: Webhook) -> str:
        content = {"type": webhook.kind, "timestamp": _text(webhook.happened_at), "data": self._content.data(webhook)}
        return json.dumps(content, separators=(",", ":"))


def _text(time_: datetime) -> str:
    return time_.isoformat(timespec="milliseconds").replace("+00:00", "Z")
