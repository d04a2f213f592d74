from __future__ import annotations

import errno

import pytest

from app.core.errors import ERROR_FACTS, ErrorCode, InputError, RequestError, error_payload, public_error

# Codes after which the same call, or another try of the same job, can succeed without any change.
CAN_SUCCEED_LATER = {
    "url_fetch_failed",
    "out_of_memory",
    "worker_lost",
    "run_timeout",
    "storage_full",
    "queue_full",
    "rate_limited",
    "concurrency_limited",
    "result_not_ready",
    "internal",
}


def test_only_what_can_pass_by_itself_is_called_retryable() -> None:
    assert {str(code) for code in ErrorCode if ERROR_FACTS[code].retryable} == CAN_SUCCEED_LATER


def test_no_hint_contradicts_its_code() -> None:
    for code, facts in ERROR_FACTS.items():
        assert facts.retryable == any(word in facts.hint for word in ("ry again", "Wait", "Poll", "again when")), code


def test_a_failure_can_differ_from_the_others_of_its_code() -> None:
    usual = RequestError(ErrorCode.RESULT_NOT_READY, "Not yet.")
    other = RequestError(ErrorCode.RESULT_NOT_READY, "Never.", retryable=False, hint="Read the error.")
    assert usual.facts == ERROR_FACTS[ErrorCode.RESULT_NOT_READY]
    assert (other.facts.http_status, other.facts.retryable, other.facts.hint) == (409, False, "Read the error.")
    assert error_payload(other, "s") == {
        "code": "result_not_ready",
        "message": "Never.",
        "stage": "s",
        "retryable": False,
        "hint": "Read the error.",
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, ""), ErrorCode.STORAGE_FULL),
        (OSError(errno.EDQUOT, ""), ErrorCode.STORAGE_FULL),
        (OSError(errno.ENOMEM, ""), ErrorCode.OUT_OF_MEMORY),
        (MemoryError(), ErrorCode.OUT_OF_MEMORY),
        (OSError(errno.EACCES, ""), ErrorCode.INTERNAL),
        (ValueError(), ErrorCode.INTERNAL),
        (InputError(ErrorCode.FACE_TOO_SMALL, ""), ErrorCode.FACE_TOO_SMALL),
    ],
)
def test_what_a_client_sees_of_any_exception(error: BaseException, code: ErrorCode) -> None:
    assert public_error(error).code is code
