"""Files: their atomic replacement (a reader sees the old file or the new one, never a part of it) and their hash.

`app.core.files` is the same for the service. Neither package may import the other, and a file that only this package
writes needs no random name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder to write to, then rename it to `path`; after an error remove it.

    A missing folder is created. The temporary name is always `.{name}.partial`, so the next call replaces what a killed
    process left behind. Two processes must not write the same file at the same time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
