from __future__ import annotations

import errno
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.core.errors import ErrorCode, InputError
from app.core.probing.child import answer
from app.core.probing.limits import Limits

LIMITS = asdict(Limits())


@pytest.mark.parametrize("kind", ["AVIF", "WEBP", "TIFF", "JPEG", "PNG", "BMP"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_damaged_picture_is_told_as_damaged(tmp_path: Path, kind: str, kept: float) -> None:
    """Cut short, and with bytes overwritten."""
    noise = np.random.default_rng(3).integers(0, 255, (96, 96, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "good", kind)
    data = (tmp_path / "good").read_bytes()
    at = int(len(data) * kept)
    for damaged in (data[:at], data[:at] + bytes(40) + data[at + 40 :], data[:at] + b"\xff" * 40 + data[at + 40 :]):
        (tmp_path / "damaged").write_bytes(damaged)
        told = answer({"task": "video", "path": str(tmp_path / "damaged"), "limits": LIMITS}, has_all_memory=True)
        assert "broken" not in told
        if "error" in told:  # some damage cannot be noticed
            assert told["error"]["code"] == ErrorCode.VIDEO_UNREADABLE and "memory" not in told["error"]["message"]


def test_a_hash_that_is_known_is_not_computed(tmp_path: Path) -> None:
    Image.new("RGB", (96, 96)).save(tmp_path / "good.png")
    request = {"task": "video", "path": str(tmp_path / "good.png"), "limits": LIMITS}
    unknown, known = answer(request, True), answer(request | {"sha256": "f" * 64}, True)
    assert known["facts"] == unknown["facts"] | {"sha256": "f" * 64} != unknown["facts"]


def raising(error: BaseException) -> Any:
    def probe(path: Path, limits: Limits) -> dict[str, Any]:
        raise error

    return probe


def caused_by(number: int) -> InputError:
    error = InputError(ErrorCode.VIDEO_UNREADABLE, "The file is damaged.")
    error.__cause__ = OSError(number, "")
    return error


@pytest.mark.parametrize(
    ("error", "has_all_memory", "outcome"),
    [
        (RuntimeError("bug"), True, "video_unreadable"),
        (ZeroDivisionError(), True, "video_unreadable"),
        (MemoryError(), True, "video_unreadable"),
        (MemoryError(), False, "broken"),
        (OSError(errno.EMFILE, "many"), True, "broken"),
        (caused_by(errno.EMFILE), True, "broken"),
        (caused_by(errno.EIO), True, "broken"),
        (caused_by(errno.ENOMEM), True, "video_unreadable"),
        (caused_by(errno.ENOMEM), False, "broken"),
        (caused_by(errno.EINVAL), True, "video_unreadable"),
        (InputError(ErrorCode.RESOLUTION_EXCEEDED, "Large."), True, "resolution_exceeded"),
    ],
)
def test_the_reason_of_a_failure(error: BaseException, has_all_memory: bool, outcome: str) -> None:
    request = {"task": "video", "path": "x", "limits": LIMITS}
    told = answer(request, has_all_memory, {"video": raising(error)})
    assert told.get("error", {"code": "broken"})["code"] == outcome
