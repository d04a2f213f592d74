"""Something that goes on beside a scenario, in a thread that ends with it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


class Background(ABC):
    """Run `run` in a thread while the context is open; it ends soon after `stop` is set, and is waited for."""

    def __init__(self, name: str) -> None:
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()

    @abstractmethod
    def run(self) -> None:
        """Do it until `stop` is set."""
