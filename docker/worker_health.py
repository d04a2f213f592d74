"""Exit 0 where a worker of this container has its network loaded and still says so; the image's health check."""

from __future__ import annotations

import socket
import sys

from app.core.records.connection import connect
from app.core.records.records import RecordLimits, Records
from app.core.settings import Settings


def main() -> int:
    """Ask Redis for the live workers and look for this container's name among them."""
    settings = Settings()
    if settings.redis_url is None:
        raise ValueError("LIPSYNC_REDIS_URL is not set")
    records = Records(connect(settings.redis_url), RecordLimits.of(settings))
    return 0 if any(socket.gethostname() in facts.name for facts in records.live_workers()) else 1


if __name__ == "__main__":
    sys.exit(main())
