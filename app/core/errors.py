"""Errors of the service: the exceptions, their public codes, and what each code means for the caller.

    LipSyncError
    ├── InputError                     files or options that the service cannot use; repeating the call does not help
    ├── RequestError                   call that is not allowed: wrong caller, unknown job, or wrong state of the job
    ├── CapacityError                  limit that is reached now; the same call can succeed later
    └── ServiceError                   failure inside the service; `ErrorFacts.retryable` says whether a repeat helps
        ├── StorageUnavailableError    storage that does not answer (app.core.storage.port)
        └── ProbeBrokenError           probe that broke for a reason of this machine (app.core.probing.probe)

The front end and the workers raise the same errors. A code is part of the public contract: its meaning never changes.
`public_error` is the only way from an exception to a client's answer, so no path, stack trace or ffmpeg log gets out.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class ErrorCode(StrEnum):
    """Codes of all failures in the public contract."""

    VIDEO_UNREADABLE = "video_unreadable"
    VIDEO_STREAM_MISSING = "video_stream_missing"
    AUDIO_UNREADABLE = "audio_unreadable"
    AUDIO_STREAM_MISSING = "audio_stream_missing"
    AUDIO_TOO_SHORT = "audio_too_short"
    INPUT_TOO_LARGE = "input_too_large"
    DURATION_EXCEEDED = "duration_exceeded"
    RESOLUTION_EXCEEDED = "resolution_exceeded"
    FRAME_LIMIT_EXCEEDED = "frame_limit_exceeded"
    MEDIA_PLAYLIST_REFUSED = "media_playlist_refused"
    URL_BLOCKED = "url_blocked"
    URL_FETCH_FAILED = "url_fetch_failed"
    OPTION_INVALID = "option_invalid"
    NO_FACE_DETECTED = "no_face_detected"
    FACE_TOO_SMALL = "face_too_small"
    FACE_NOT_FOUND = "face_not_found"
    CHECKPOINT_MISSING = "checkpoint_missing"
    CHECKPOINT_INVALID = "checkpoint_invalid"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_LOST = "worker_lost"
    RUN_TIMEOUT = "run_timeout"
    ENCODE_FAILED = "encode_failed"
    STORAGE_FULL = "storage_full"
    CANCELED = "canceled"
    QUEUE_FULL = "queue_full"
    RATE_LIMITED = "rate_limited"
    CONCURRENCY_LIMITED = "concurrency_limited"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    RESULT_NOT_READY = "result_not_ready"
    RESULT_EXPIRED = "result_expired"
    RETRY_REFUSED = "retry_refused"
    UPLOAD_UNAVAILABLE = "upload_unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True)
class ErrorFacts:
    """Meaning of a code: HTTP status, whether a repeat of the call can help, and what the caller can do."""

    http_status: int
    retryable: bool
    hint: str


ERROR_FACTS: Final[dict[ErrorCode, ErrorFacts]] = {
    ErrorCode.VIDEO_UNREADABLE: ErrorFacts(422, False, "Send a complete video or picture that plays elsewhere."),
    ErrorCode.VIDEO_STREAM_MISSING: ErrorFacts(422, False, "Send a file that contains a video or a still picture."),
    ErrorCode.AUDIO_UNREADABLE: ErrorFacts(422, False, "Send a complete sound file, or a video that has sound."),
    ErrorCode.AUDIO_STREAM_MISSING: ErrorFacts(422, False, "Send a file that has an audio track."),
    ErrorCode.AUDIO_TOO_SHORT: ErrorFacts(422, False, "Send at least a tenth of a second of sound."),
    ErrorCode.INPUT_TOO_LARGE: ErrorFacts(413, False, "Send a smaller file, or raise LIPSYNC_MAX_UPLOAD_BYTES."),
    ErrorCode.DURATION_EXCEEDED: ErrorFacts(422, False, "Send a shorter file, or raise LIPSYNC_MAX_DURATION_S."),
    ErrorCode.RESOLUTION_EXCEEDED: ErrorFacts(422, False, "Scale the picture down, or raise LIPSYNC_MAX_PIXELS."),
    ErrorCode.FRAME_LIMIT_EXCEEDED: ErrorFacts(
        422, False, "Lower the frame rate or send a shorter video, or raise LIPSYNC_MAX_FPS or LIPSYNC_MAX_DURATION_S."
    ),
    ErrorCode.MEDIA_PLAYLIST_REFUSED: ErrorFacts(415, False, "Send the media itself: playlists are never followed."),
    ErrorCode.URL_BLOCKED: ErrorFacts(422, False, "Upload the file instead of its address."),
    ErrorCode.URL_FETCH_FAILED: ErrorFacts(422, True, "Check that the address answers, then try again."),
    ErrorCode.OPTION_INVALID: ErrorFacts(422, False, "Correct the option; /docs lists all options."),
    ErrorCode.NO_FACE_DETECTED: ErrorFacts(
        422, False, "Use a video or picture in which a face is visible and not too small."
    ),
    ErrorCode.FACE_TOO_SMALL: ErrorFacts(422, False, "Use a video or picture in which the face is larger."),
    ErrorCode.FACE_NOT_FOUND: ErrorFacts(422, False, "Choose another face, or set `face` to `largest`."),
    ErrorCode.CHECKPOINT_MISSING: ErrorFacts(
        503, False, "Set LIPSYNC_CHECKPOINT, and LIPSYNC_SPEECH_ENCODER if it needs one, to files that exist."
    ),
    ErrorCode.CHECKPOINT_INVALID: ErrorFacts(
        503, False, "Set LIPSYNC_CHECKPOINT to a complete checkpoint that fits LIPSYNC_SPEECH_ENCODER."
    ),
    ErrorCode.OUT_OF_MEMORY: ErrorFacts(500, True, "Try again, or lower LIPSYNC_BATCH_SIZE."),
    ErrorCode.WORKER_LOST: ErrorFacts(500, True, "Try again; if it repeats, look at the worker's log."),
    ErrorCode.RUN_TIMEOUT: ErrorFacts(
        500, True, "Try again when the service is less busy, send a shorter clip, or raise LIPSYNC_RUN_TIMEOUT_S."
    ),
    ErrorCode.ENCODE_FAILED: ErrorFacts(500, False, "The worker's log says why; `lipsync doctor` checks the encoder."),
    ErrorCode.STORAGE_FULL: ErrorFacts(507, True, "Try again later: the service has no disk space left."),
    ErrorCode.CANCELED: ErrorFacts(409, False, "Retry the job (/jobs/ID/retry) if you still want its result."),
    ErrorCode.QUEUE_FULL: ErrorFacts(503, True, "Try again after the time in Retry-After."),
    ErrorCode.RATE_LIMITED: ErrorFacts(429, True, "Try again after the time in Retry-After."),
    ErrorCode.CONCURRENCY_LIMITED: ErrorFacts(429, True, "Wait for one of your jobs to end."),
    ErrorCode.IDEMPOTENCY_CONFLICT: ErrorFacts(409, False, "Use a new Idempotency-Key for a different request."),
    ErrorCode.UNAUTHORIZED: ErrorFacts(401, False, "Send a valid API key."),
    ErrorCode.FORBIDDEN: ErrorFacts(403, False, "Use a key, an address or a page that is allowed to do this."),
    ErrorCode.NOT_FOUND: ErrorFacts(404, False, "Check the address and the job's id."),
    ErrorCode.RESULT_NOT_READY: ErrorFacts(409, True, "Poll the job until its status is succeeded."),
    ErrorCode.RESULT_EXPIRED: ErrorFacts(410, False, "Create the job again: results are kept for a limited time."),
    ErrorCode.RETRY_REFUSED: ErrorFacts(409, False, "Only a job that failed or was canceled can be retried."),
    ErrorCode.UPLOAD_UNAVAILABLE: ErrorFacts(409, False, "Send the file as a part of the form of the job."),
    ErrorCode.INTERNAL: ErrorFacts(500, True, "Try again; if it repeats, report the request_id."),
}


class LipSyncError(Exception):
    """Failure with a public code and one public sentence: what happened and, if known, what to do.

    `retry_after_s` is the number of seconds after which a repeat makes sense, None if unknown. `retryable` and `hint`
    replace what the code says, where this failure differs from the others of its code; else they are None.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        retry_after_s: int | None = None,
        retryable: bool | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.hint = hint
        self._retryable = retryable

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def facts(self) -> ErrorFacts:
        """Return the meaning of this failure."""
        facts = ERROR_FACTS[self.code]
        retryable = facts.retryable if self._retryable is None else self._retryable
        return ErrorFacts(facts.http_status, retryable, self.hint or facts.hint)


class InputError(LipSyncError):
    """Files or options that the service cannot use."""


class RequestError(LipSyncError):
    """Call that is not allowed for this caller or at this moment."""


class CapacityError(LipSyncError):
    """Call that exceeds what the service can take at the moment."""


class ServiceError(LipSyncError):
    """Failure inside the service, not caused by the caller."""


@contextmanager
def naming(place: str, hint: str | None = None) -> Iterator[None]:
    """Let the errors inside begin with the place of the request that they are about; hint: in place of the code's."""
    try:
        yield
    except LipSyncError as error:
        error.message = f"{place}: {error.message}"
        error.hint = hint or error.hint
        raise


def public_error(error: BaseException) -> LipSyncError:
    """Return the error that a client may see in place of any exception.

    Lack of memory and a full disk keep their meaning. Any other foreign exception becomes `internal`, without its text.
    """
    if isinstance(error, LipSyncError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ServiceError(ErrorCode.OUT_OF_MEMORY, "The worker ran out of memory.")
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return ServiceError(ErrorCode.OUT_OF_MEMORY, "The worker ran out of memory.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ServiceError(ErrorCode.STORAGE_FULL, "The service has no disk space left.")
    return ServiceError(ErrorCode.INTERNAL, "Something failed inside the service.")


def error_payload(error: LipSyncError, stage: str | None) -> dict[str, Any]:
    """Return the `error` object of a failed job: code, message, stage, retryable and hint."""
    facts = error.facts
    return {
        "code": str(error.code),
        "message": error.message,
        "stage": stage,
        "retryable": facts.retryable,
        "hint": facts.hint,
    }
