"""Idempotency keys, and the hash that tells whether two requests ask for the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from app.core.jobs import JobInput, JobOptions
from app.core.options import option_error

MAX_KEY_CHARACTERS: Final = 255
# For the API description; `checked_key` decides. A server removes spaces around the value of a header.
KEY_SCHEMA: Final[dict[str, Any]] = {
    "minLength": 1,
    "maxLength": MAX_KEY_CHARACTERS,
    "pattern": "^[!-~]([ -~]*[!-~])?$",
}


def checked_key(key: str) -> str:
    """Return an idempotency key; raises InputError(option_invalid)."""
    if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        raise option_error(f"Idempotency-Key: must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters.")
    return key


def fingerprint(kind: str, jobs: Iterable[tuple[JobInput, JobOptions]], webhook_url: str | None = None) -> str:
    """Return a hash that is equal for equal requests: of their kind, the options and the content of the files.

    It is kept with a record, so a request that says nothing of a newer option has the hash of earlier versions.
    """
    parts = [kind, webhook_url or ""]
    for files, options in jobs:
        facts = (files.video, files.audio, files.audio_mix, *files.segments)
        texts = options.model_dump_json(exclude=None if options.segments else {"segments"})
        parts += [texts, *(fact.sha256 if fact else "" for fact in facts)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
