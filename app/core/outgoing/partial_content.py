"""Headers by which a broken download goes on where it stopped, and the check that the rest is of the same file.

Source: RFC 9110, sections 8.8 (validators), 13.1.5 (If-Range) and 14.4 (Content-Range).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Final

CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.IGNORECASE)
NUMBER: Final = re.compile(r"\d{1,18}")
STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]*"')
# A file that changed twice within this time can have one date for two contents.
DATE_RESOLUTION: Final = timedelta(seconds=1)

RawHeaders = Sequence[tuple[bytes, bytes]]


def header(headers: RawHeaders, name: str) -> str | None:
    """Return the value of a header, None if it is absent, repeated, or not UTF-8."""
    values = [value for key, value in headers if key.lower() == name.lower().encode()]
    if len(values) != 1:
        return None
    try:
        return values[0].decode().strip()
    except UnicodeDecodeError:
        return None


def content_length(headers: RawHeaders) -> int | None:
    """Return the number of bytes that the body claims to have, None if it does not say."""
    value = header(headers, "content-length")
    return int(value) if value is not None and NUMBER.fullmatch(value) else None


def strong_validator(headers: RawHeaders) -> str | None:
    """Return the strong ETag, else a Last-Modified that counts as strong, else None."""
    etag = header(headers, "etag")
    if etag is not None and STRONG_ETAG.fullmatch(etag):
        return etag
    modified, date = header(headers, "last-modified"), header(headers, "date")
    if modified is None or date is None:
        return None
    try:
        is_strong = parsedate_to_datetime(date) - parsedate_to_datetime(modified) >= DATE_RESOLUTION
    except (ValueError, OverflowError, TypeError):  # TypeError: one date with a time zone, one without
        return None
    return modified if is_strong else None


def length_if_exact_rest(headers: RawHeaders, start: int, total: int | None, etag: str | None) -> int | None:
    """Return the length of the file if the answer is its byte `start` up to its last byte, else None.

    total: length of the file in bytes, None if the first answer did not say. etag: the first answer's, None if absent.
    """
    found = CONTENT_RANGE.fullmatch(header(headers, "content-range") or "")
    if found is None:
        return None
    first, last, length = map(int, found.groups())
    claimed = content_length(headers)
    is_exact = (
        first == start
        and last == length - 1
        and total in (None, length)
        and claimed in (None, length - start)
        and header(headers, "etag") in (None, etag)
    )
    return length if is_exact else None
