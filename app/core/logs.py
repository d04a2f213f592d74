"""One line an event, to stderr: time, level, logger, sentence with `name=value` pairs; no path and no user's data."""

from __future__ import annotations

import logging
import sys


def set_up_logging() -> None:
    """Send every logger of this process through one handler."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("httpx", "httpcore", "celery.worker.strategy", "celery.app.trace", "kombu", "botocore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
