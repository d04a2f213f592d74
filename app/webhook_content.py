"""What a webhook tells of a job or a batch: what `GET /jobs/{id}` or `GET /batches/{id}` shows."""

from __future__ import annotations

from typing import Any

from app.core.records.batches import Batches
from app.core.records.records import Records
from app.core.records.webhooks import Webhook
from app.schemas import BatchView, JobView


class EndedSubjects:
    """Jobs and batches that have ended; may raise `redis.RedisError`."""

    def __init__(self, records: Records, batches: Batches) -> None:
        self._records, self._batches = records, batches

    def data(self, webhook: Webhook) -> dict[str, Any]:
        """Return the job or batch; its id and status if it was deleted or retried since."""
        kind, _, status = webhook.kind.partition(".")
        if kind == "batch":
            batch = self._batches.get(webhook.subject)
            if batch is not None and batch.has_ended:
                return BatchView.of(batch).model_dump(mode="json")
            return {"id": webhook.subject, "ended": True}
        job = self._records.get(webhook.subject)
        if job is not None and f"{job.id}-{job.last_event}" == webhook.id:
            return JobView.of(job, None).model_dump(mode="json", by_alias=True)
        return {"id": webhook.subject, "status": status}
