"""What a webhook tells of a job: the job as `GET /jobs/{id}` shows it."""

from __future__ import annotations

from typing import Any

from app.core.records.records import Records
from app.core.records.webhooks import Webhook
from app.schemas import JobView


class EndedJobs:
    """Jobs that have ended; may raise `redis.RedisError`."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def data(self, webhook: Webhook) -> dict[str, Any]:
        """Return the job, or its id and status if it was deleted or retried since."""
        job = self._records.get(webhook.subject)
        if job is not None and f"{job.id}-{job.last_event}" == webhook.id:
            return JobView.of(job, None).model_dump(mode="json", by_alias=True)
        return {"id": webhook.subject, "status": webhook.kind.partition(".")[2]}
