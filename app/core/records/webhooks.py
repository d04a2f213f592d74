"""Webhooks that wait to be sent, in Redis: the message of the end of a job or a batch.

The script that ends a job also lets its webhook wait, so an end that is recorded is also announced. Whoever sends a
webhook borrows it for LEASE_S; a sender that dies loses it to another one. So each end is announced at least once.
Webhooks of one subject are sent in the order of their events, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

import redis

from app.core.errors import ErrorCode, RequestError
from app.core.records.keys import Key
from app.core.records.lua import Scripts

LEASE_S: Final = 60.0  # longer than one try can take
PAUSES_S: Final = (5, 30, 120, 300, 900, 1800, 3600)  # between tries: two hours in all
LONGEST_PAUSE_S: Final = 3600  # that a receiver can ask for
MOST_LISTED: Final = 100


@dataclass(frozen=True)
class Webhook:
    """Webhook of one event. body: as it was first sent, None before; answer: of the last try that failed."""

    id: str
    kind: str
    subject: str
    owner: str
    url: str
    happened_at: datetime
    tries: int
    body: str | None
    answer: str | None


class Webhooks:
    """Waiting and failed webhooks; every method may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis, kept_s: float) -> None:
        """Keep webhooks that no try could deliver for `kept_s` seconds."""
        self._redis = client
        self._scripts = Scripts(client)
        self._kept_ms = int(kept_s * 1000)

    def take(self, limit: int) -> list[Webhook]:
        """Borrow at most this many webhooks that are due, the oldest first."""
        ids = self._scripts.texts("take_webhooks", limit=limit, lease_ms=int(LEASE_S * 1000))
        return [webhook for webhook in map(self._get, ids) if webhook is not None]

    def keep_body(self, event_id: str, body: str) -> str:
        """Keep the body of a webhook, so that each repeat sends the same; return the one that is kept."""
        self._redis.hsetnx(Key.WEBHOOK + event_id, "body", body)
        return cast("str", self._redis.hget(Key.WEBHOOK + event_id, "body"))

    def end(self, event_id: str) -> None:
        """Forget a webhook that was received."""
        self._scripts.flag("end_webhook", event_id=event_id)

    def delay(self, event_id: str, answer: str, *, is_last: bool = False, least_s: int | None = None) -> int | None:
        """Count a failed try and its answer; return the seconds until the next one.

        Return 0 if this try was the last one, by number or because it has to be: the webhook is put aside. Return None
        if it no longer waited, because another process has sent it.

        least_s: seconds that the receiver asks to be left alone, up to LONGEST_PAUSE_S.
        """
        pauses_ms = [] if is_last else [str(pause_s * 1000) for pause_s in PAUSES_S]
        least_ms = min(least_s or 0, LONGEST_PAUSE_S) * 1000
        wait_ms = self._scripts.number(
            "delay_webhook",
            event_id=event_id,
            answer=answer,
            pauses_ms=pauses_ms,
            least_ms=least_ms,
            kept_ms=self._kept_ms,
        )
        return None if wait_ms < 0 else wait_ms // 1000

    def failed(self, owner: str) -> list[Webhook]:
        """Return the newest webhooks of an owner that no try could deliver, the newest first."""
        ids = cast("list[str]", self._redis.zrevrange(Key.FAILED_WEBHOOKS + owner, 0, MOST_LISTED - 1))
        found = {event_id: self._get(event_id) for event_id in ids}
        gone = [event_id for event_id, webhook in found.items() if webhook is None]
        if gone:
            self._redis.zrem(Key.FAILED_WEBHOOKS + owner, *gone)
        return [webhook for webhook in found.values() if webhook is not None]

    def resend(self, owner: str, event_id: str) -> None:
        """Let a failed webhook wait again, with all tries before it; raises RequestError(not_found)."""
        if not self._scripts.flag("resend_webhook", owner=owner, event_id=event_id):
            raise RequestError(ErrorCode.NOT_FOUND, "There is no such failed webhook.")

    def _get(self, event_id: str) -> Webhook | None:
        fields = cast("dict[str, str]", self._redis.hgetall(Key.WEBHOOK + event_id))
        if "kind" not in fields:
            return None
        return Webhook(
            id=event_id,
            kind=fields["kind"],
            subject=fields["subject"],
            owner=fields["owner"],
            url=fields["url"],
            happened_at=datetime.fromtimestamp(int(fields["happened_at"]) / 1000, UTC),
            tries=int(fields["tries"]),
            body=fields.get("body"),
            answer=fields.get("answer"),
        )
