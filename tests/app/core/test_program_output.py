from __future__ import annotations

import sys

import pytest

from app.core.program_output import program_output


@pytest.mark.parametrize(
    ("program", "said"),
    [("print('one')", "one\n"), ("print('one'); raise SystemExit(1)", ""), ("import sys; sys.stderr.write('x')", "")],
)
def test_a_program_says_what_it_prints_if_it_succeeds(program: str, said: str) -> None:
    assert program_output(sys.executable, "-c", program) == said


def test_a_program_that_is_none_says_nothing() -> None:
    assert program_output("/dev/null") == program_output("/no/such/program") == ""
