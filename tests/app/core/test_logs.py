from __future__ import annotations

import io
import logging

import pytest

from app.core.logs import OUTAGE, WINDOW_S, RepeatFilter


class WithoutTraceback(logging.Formatter):
    def formatException(self, ei):  # noqa: N802  the name is logging's
        return ""


class Log:
    """Logger behind the filter, with a clock that the test moves."""

    def __init__(self, **limits):
        self.now = 0.0
        self._written = io.StringIO()
        handler = logging.StreamHandler(self._written)
        handler.setFormatter(WithoutTraceback())
        handler.addFilter(RepeatFilter(**limits, clock=lambda: self.now))
        self._logger = logging.Logger("test")
        self._logger.addHandler(handler)

    @property
    def lines(self):
        return [line for line in self._written.getvalue().splitlines() if line]

    def say(self, text, *arguments, error=None):
        self._logger.warning(text, *arguments, exc_info=error)

    def say_outage(self, text):
        self._logger.warning(text, extra=OUTAGE)

    def say_elsewhere(self, text):
        self._logger.warning(text)


@pytest.mark.parametrize(("error", "kept"), [(None, 3), (ValueError("x"), 2)])
def test_lines_beyond_the_limit_are_counted(error, kept):
    log = Log(lines=3, tracebacks=2)
    for number in range(1000):
        log.say("line %d", number, error=error)
    log.say_elsewhere("another place")
    assert log.lines == [*(f"line {number}" for number in range(kept)), "another place"]
    log.now += WINDOW_S
    log.say("100%% of %s", "it", error=error)
    log.say("line", error=error)
    assert log.lines[kept + 1 :] == [f"100% of it lines_left_out={1000 - kept}", "line"]


def test_a_usual_log_is_complete():
    log = Log(lines=5)
    for number in range(100):
        log.now += WINDOW_S / 5
        log.say("line %d", number)
    assert log.lines == [f"line {number}" for number in range(100)]


def test_an_outage_is_one_line_in_a_window():
    log = Log(lines=5)
    for number in range(10):
        log.say_outage(f"line {number}")
    log.now += WINDOW_S
    log.say_outage("still away")
    assert log.lines == ["line 0", "still away lines_left_out=9"]
