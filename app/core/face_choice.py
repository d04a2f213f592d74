"""The option `face`: which texts are a choice of a face."""

from __future__ import annotations

from typing import Final

# For the API description; `parse_face` decides.
FACE_PATTERN: Final = r"^(largest|all|speaking|index:[0-9]{1,3}|point:[0-9]{1,5}(\.[0-9]+)?,[0-9]{1,5}(\.[0-9]+)?)$"


SPEAKING: Final = "speaking"


def parse_face(text: str) -> str:
    """Return the face choice if it is valid: `largest`, `all`, `speaking`, `index:N` (from 0) or `point:X,Y` (pixels).

    Raises ValueError.
    """
    kind, _, value = text.partition(":")
    if kind in ("largest", "all", SPEAKING) and not value:
        return text
    if kind == "index" and value.isascii() and value.isdigit() and len(value) <= 3:
        return text
    if kind == "point":
        parts = value.split(",")
        if len(parts) == 2 and all(_is_pixel(part) for part in parts):
            return text
    raise ValueError("must be `largest`, `all`, `speaking`, `index:N` or `point:X,Y`")


def point_of(face: str) -> tuple[float, float] | None:
    """Return the point in pixels that a face choice names, None for any other choice."""
    kind, _, value = face.partition(":")
    if kind != "point":
        return None
    x, y = (float(part) for part in value.split(","))
    return x, y


def _is_pixel(text: str) -> bool:
    try:
        return 0 <= float(text) < 1e6  # also false for nan
    except ValueError:
        return False
