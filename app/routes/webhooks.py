"""Routes for webhooks that no try could deliver."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from app.dependencies import MAY_READ, MAY_SUBMIT, CallerDep, ServicesDep
from app.openapi import problems
from app.schemas import FailedWebhooks, WebhookView

router = APIRouter(tags=["webhooks"])


@router.get("/webhooks/failed", summary="List undelivered webhooks", responses=problems(503), dependencies=[MAY_READ])
def list_failed(services: ServicesDep, caller: CallerDep) -> FailedWebhooks:
    """Return the caller's webhooks that no try could deliver, the newest first; they are kept as long as jobs."""
    return FailedWebhooks(webhooks=[WebhookView.of(webhook) for webhook in services.webhooks.failed(caller.owner)])


@router.post(
    "/webhooks/{webhook_id}/resend",
    status_code=202,
    summary="Send a webhook again",
    responses=problems(404, 422, 503),
    dependencies=[MAY_SUBMIT],
)
def resend(
    services: ServicesDep,
    caller: CallerDep,
    webhook_id: Annotated[
        str,
        Path(
            max_length=128,
            pattern="^[A-Za-z0-9_-]+$",
            description="The id of a webhook, as `GET /webhooks/failed` lists it.",
        ),
    ],
) -> dict[str, str]:
    """Let an undelivered webhook wait again, with the same id and content."""
    services.webhooks.resend(caller.owner, webhook_id)
    return {"id": webhook_id, "status": "waiting"}
