"""The end of all waiting in one exchange: by time, or because the caller's check raises."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError

SLICE_S: Final = 0.25


class DeadlineError(InputError):
    """End of the time for one exchange."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.URL_FETCH_FAILED, "The host of the address took too long.")


@dataclass(frozen=True)
class Deadline:
    """Moment at which an exchange is given up (`time.monotonic`, seconds), and the check that may end it before."""

    at_s: float
    check: Check

    @classmethod
    def after(cls, seconds: float, check: Check) -> Deadline:
        """Return the deadline that many seconds from now."""
        return cls(time.monotonic() + seconds, check)

    def expect_time(self) -> float:
        """Call the check; return the seconds that are left; raise DeadlineError if none are."""
        self.check()
        left_s = self.at_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineError
        return left_s

    def slices(self, seconds: float) -> Iterator[float]:
        """Yield short times to wait, in seconds, until `seconds` have passed; call the check before each."""
        end_s = time.monotonic() + seconds
        while (wait_s := end_s - time.monotonic()) > 0:
            yield min(wait_s, SLICE_S, self.expect_time())
