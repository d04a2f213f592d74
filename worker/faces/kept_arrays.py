"""Findings that are kept in the cache as a file of arrays."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from app.core.storage.cache import Entry

DAMAGES: Final = (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile)

T = TypeVar("T")
_log = logging.getLogger("lipsync.cache")


def read_arrays(entry: Entry, of_arrays: Callable[[Mapping[str, Any]], T]) -> T | None:
    """Return what `of_arrays` makes of the arrays of an entry; None if it has none, or none of use."""
    path = entry.get()
    if path is None:
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return of_arrays({name: file[name] for name in file.files})
    except DAMAGES as error:
        _log.warning("findings not read from the cache error=%s", error)
        entry.remove()
        return None


def keep_arrays(entry: Entry, arrays: Mapping[str, Any]) -> None:
    """Keep arrays by name in an entry."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **arrays)

    entry.put(write)
