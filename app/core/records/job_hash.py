"""The fields of a job's Redis hash: texts; times are milliseconds since the epoch. See `app.core.records.keys`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from app.core.jobs import Job


def _time(text: str | None) -> datetime | None:
    return datetime.fromtimestamp(int(text) / 1000, UTC) if text else None


def job_of_hash(job_id: str, fields: Mapping[str, str]) -> Job:
    """Return the job that the fields of a hash describe."""
    doc = json.loads(fields["doc"])
    parsed = {name: json.loads(fields[name]) for name in ("error", "result", "report") if name in fields}
    return Job.model_validate(
        {
            "id": job_id,
            "status": fields["status"],
            "stage": fields.get("stage") or None,
            "attempt": int(fields["attempt"]),
            "worker": fields.get("worker"),
            "owner": fields["owner"],
            "cancel_requested": "cancel" in fields,
            "last_event": fields["event"],
            "progress": json.loads(fields.get("progress") or "{}"),
            "created_at": _time(fields["created_at"]),
            "started_at": _time(fields.get("started_at")),
            "finished_at": _time(fields.get("finished_at")),
            "expires_at": _time(fields["expires_at"]),
            "input": doc["input"],
            "options": doc["options"],
            "warnings": json.loads(fields.get("warnings", "[]")),
            **parsed,
        }
    )
