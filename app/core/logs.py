"""Set-up of the log: one line per event on stderr, with time, level, logger, and a sentence with `name=value` pairs.

A line contains no path and no data of users. One place of the program writes a limited number of lines in a while, so
no caller can fill a disk with them; the next line of this place says how many were left out.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 10.0
LINES: Final = 500
TRACEBACKS: Final = 20  # a traceback takes about thirty lines
# `extra` of a line that an outage repeats with every call: one in a window says it all.
OUTAGE: Final = {"most_lines": 1}


@dataclass
class _Window:
    """Time in which the lines of one place of the program are counted."""

    begun_at: float
    kept: int = 0
    dropped: int = 0


class RepeatFilter(logging.Filter):
    """Filter that drops the lines of a place in the program beyond a number in each window, and counts them.

    A place is a file and a line of the source. Their number is fixed, so the filter's memory is too.
    """

    def __init__(
        self, lines: int = LINES, tracebacks: int = TRACEBACKS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._lines, self._tracebacks, self._clock = lines, tracebacks, clock
        self._windows: dict[tuple[str, int], _Window] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written; the first line of a window gets the number of those left out before."""
        most = self._tracebacks if record.exc_info else getattr(record, "most_lines", self._lines)
        place = (record.pathname, record.lineno)
        with self._lock:
            now = self._clock()
            window = self._windows.setdefault(place, _Window(now))
            if now - window.begun_at >= WINDOW_S:
                if window.dropped:
                    record.msg, record.args = f"{record.getMessage()} lines_left_out={window.dropped}", ()
                window = self._windows[place] = _Window(now)
            is_kept = window.kept < most
            window.kept += is_kept
            window.dropped += not is_kept
        return is_kept


def set_up_logging() -> None:
    """Send the lines of all loggers of this process to one handler."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("httpx", "httpcore", "celery.worker.strategy", "celery.app.trace", "kombu", "botocore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
