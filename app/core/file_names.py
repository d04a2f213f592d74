"""What a text of a request names: a file of the form, an address, or a file that was sent to the bucket before."""

from __future__ import annotations

from typing import Final

URL_STARTS: Final = ("http://", "https://")
UPLOAD_START: Final = "upload:"


def is_address(text: str) -> bool:
    """Return whether the text is an address."""
    return text.lower().startswith(URL_STARTS)


def is_upload(text: str) -> bool:
    """Return whether the text names an upload: `upload:ID`."""
    return text.startswith(UPLOAD_START)


def is_elsewhere(text: str) -> bool:
    """Return whether the text names a file that does not come with the form."""
    return is_address(text) or is_upload(text)
