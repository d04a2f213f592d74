"""Cues of speech in a long recording that lies in a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.arrays import F32, I16, I64
from model.audio import SAMPLE_RATE_HZ
from model.speech_cues import BLOCK_HOPS, HOP, similarity, voicing


@pytest.mark.parametrize("cue", [similarity, voicing])
def test_a_long_file_does_not_stay_in_memory(tmp_path: Path, cue: Callable[[I16, I64], F32]) -> None:
    path = tmp_path / "voice.s16"
    np.zeros(20 * 60 * SAMPLE_RATE_HZ, np.int16).tofile(path)
    samples = np.memmap(path, np.int16, "r")
    one_of_eight = np.arange(0, len(samples) // HOP, 8)
    assert len(one_of_eight) > 2 * BLOCK_HOPS
    cue(samples, one_of_eight)
    assert resident_bytes(path) < samples.nbytes / 4


def resident_bytes(path: Path) -> int:
    """Return how much of a mapped file is in the memory of this process."""
    maps = Path("/proc/self/smaps").read_text(encoding="utf-8")
    found = re.search(rf"{re.escape(str(path))}\n(?:.*\n)*?Rss: +(\d+) kB", maps)
    assert found is not None
    return 1024 * int(found[1])
