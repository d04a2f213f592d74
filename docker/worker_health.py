"""Health check of the worker's image: exit 0 if a worker of this container has loaded its network and is alive."""

from __future__ import annotations

import socket
import sys

from app.core.records.connection import connect
from app.core.records.records import RecordLimits, Records
from app.core.settings import Settings


def main() -> int:
    """Read the live workers from Redis and return 0 if this container's name is among them, else 1."""
    settings = Settings()
    if settings.redis_url is None:
        raise ValueError("LIPSYNC_REDIS_URL is not set")
    records = Records(connect(settings.redis_url), RecordLimits.of(settings))
    return 0 if any(socket.gethostname() in facts.name for facts in records.live_workers()) else 1


if __name__ == "__main__":
    sys.exit(main())
