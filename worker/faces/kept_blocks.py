"""Findings about the numbered frames of a film, kept in the cache in blocks of frame numbers.

Each segment of a long clip reads the blocks that it needs, and adds what is new to them, on any worker of the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from app.core.storage.cache import Entry
from worker.faces.kept_arrays import keep_arrays, read_arrays

BLOCK_FRAMES: Final = 256

T = TypeVar("T")


@dataclass(frozen=True)
class Form(Generic[T]):
    """Form in which findings, by name, are kept in a file: to_arrays gives arrays by name, of_arrays reads them."""

    to_arrays: Callable[[Mapping[str, T]], Mapping[str, Any]]
    of_arrays: Callable[[Mapping[str, Any]], dict[str, T]]


class KeptBlocks(Generic[T]):
    """Findings by name; a context manager, which adds what is new to the cache at its end, unless that is an error.

    entry_of(block): the place of the frames from block * BLOCK_FRAMES on. most: blocks that are in memory at once.
    """

    def __init__(self, entry_of: Callable[[int], Entry], form: Form[T], most: int) -> None:
        self._entry_of, self._form, self._most = entry_of, form, most
        self._blocks: dict[int, dict[str, T]] = {}  # the one that was used last is at the end
        self._new: set[int] = set()  # blocks with findings that are not in the cache

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            for number in list(self._blocks):
                self._put_away(number)

    def get(self, frame: int, name: str) -> T | None:
        """Return a finding about the frame with a number; None if it is not known."""
        return self._block(frame // BLOCK_FRAMES).get(name)

    def add(self, frame: int, name: str, finding: T) -> None:
        """Keep a finding about the frame with a number."""
        block = frame // BLOCK_FRAMES
        self._block(block)[name] = finding
        self._new.add(block)

    def _block(self, number: int) -> dict[str, T]:
        if number not in self._blocks:
            if len(self._blocks) >= self._most:
                self._put_away(next(iter(self._blocks)))
            self._blocks[number] = self._read(self._entry_of(number))
        self._blocks[number] = self._blocks.pop(number)
        return self._blocks[number]

    def _put_away(self, number: int) -> None:
        findings = self._blocks.pop(number)
        if number in self._new:
            self._new.remove(number)
            entry = self._entry_of(number)
            findings = self._read(entry) | findings  # another segment may have added some meanwhile
            keep_arrays(entry, self._form.to_arrays(findings))

    def _read(self, entry: Entry) -> dict[str, T]:
        return read_arrays(entry, self._form.of_arrays) or {}
