"""The POST of a small body to an address that a stranger sent, as webhooks need it: one try, no redirect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.core.checks import Check, never_stop
from app.core.outgoing.client import BROKEN, OutgoingClient
from app.core.outgoing.deadline import Deadline, DeadlineError
from app.core.outgoing.partial_content import header
from app.core.outgoing.policy import OutgoingLimits

SEND_LIMITS: Final = OutgoingLimits(
    total_s=20.0, lookup_s=5.0, connect_s=5.0, idle_s=15.0, max_head_bytes=16 * 1024, max_redirects=0
)
SECONDS: Final = re.compile(r"\d{1,6}")
ASKING_TO_WAIT: Final = (429, 503)  # statuses whose Retry-After is the time of a next try (RFC 9110, RFC 6585)
# Read and forgotten, so that the other side sees its answer taken.
MAX_ANSWER_BYTES: Final = 16 * 1024


@dataclass(frozen=True)
class Answer:
    """Status of an answer, and the seconds after which its host asks to be tried again (None if it does not)."""

    status: int
    retry_after_s: int | None

    @property
    def is_accepted(self) -> bool:
        """Tell whether the message arrived; a redirect is no arrival."""
        return 200 <= self.status < 300


def send(
    client: OutgoingClient, address: str, body: bytes, headers: Mapping[str, str], *, check: Check = never_stop
) -> Answer:
    """POST a body once; return the answer, whatever its status; never follow a redirect.

    Raise InputError(url_blocked) or InputError(url_fetch_failed), and whatever `check` raises.
    """
    deadline = Deadline.after(client.limits.total_s, check)
    destination = client.destination(address, deadline)
    with client.exchange(destination, deadline, headers, body) as response:
        asked = header(response.headers, "retry-after") if response.status in ASKING_TO_WAIT else None
        answer = Answer(response.status, _retry_after_s(asked))
        left = MAX_ANSWER_BYTES
        try:
            for chunk in response.iter_stream():
                left -= len(chunk)
                if left <= 0:
                    break
        except (*BROKEN, DeadlineError):
            return answer
    return answer


def _retry_after_s(value: str | None) -> int | None:
    return int(value) if value is not None and SECONDS.fullmatch(value) else None
