"""Set-up of the log: one line per event on stderr, with time, level, logger, and a sentence with `name=value` pairs.

A line contains no path and no data of users.
"""

from __future__ import annotations

import logging
import sys


def set_up_logging() -> None:
    """Send the lines of all loggers of this process to one handler."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("httpx", "httpcore", "celery.worker.strategy", "celery.app.trace", "kombu", "botocore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
