"""Repeat calls while Redis or the storage is unavailable."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from app.core.checks import Check, never_stop
from app.core.records.connection import REDIS_UNAVAILABLE
from app.core.storage.port import StorageUnavailableError

RETRY_S: Final = 300.0  # how long a call is repeated
PAUSE_S: Final = 1.0
UNAVAILABLE: Final = (*REDIS_UNAVAILABLE, StorageUnavailableError)

_T = TypeVar("_T")


def retry_while_unavailable(call: Callable[[], _T], check: Check = never_stop) -> _T:
    """Call until Redis and the storage answer, and return the result.

    `check` is called between two calls. Raises the error of the last call after RETRY_S.
    """
    deadline = time.monotonic() + RETRY_S
    while True:
        try:
            return call()
        except UNAVAILABLE:
            if time.monotonic() > deadline:
                raise
            check()
            time.sleep(PAUSE_S)
