"""Array types by element, for signatures; each docstring gives shape, layout and range. Arrays may lie in files."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
I16 = NDArray[np.int16]
I64 = NDArray[np.int64]
F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]  # float32 or float64


def release_pages(samples: I16) -> None:
    """Release the pages of a memory-mapped file, which would otherwise add up to the whole file in memory."""
    owner: object = samples.base
    if isinstance(owner, mmap.mmap):
        owner.madvise(mmap.MADV_DONTNEED)
