from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model.audio import MelWindow
from model.evaluation.av_offset import OffsetExpert, Piece, find_offset, shift_sound

FPS = 25.0


def _recording(seed: int, frames: int = 120, size: int = 8) -> Piece:
    """Return lips that open with the loudness of a noise, and crops that are as bright as it is loud."""
    rng = np.random.default_rng(seed)
    spoken = np.convolve(rng.random(frames + 8), np.ones(3) / 3, "same")[4:-4] ** 2
    loud = np.roll(np.repeat(spoken, 640), -320)  # a frame is seen in the middle of its sound
    sound = rng.normal(0, 1, frames * 640) * loud * 8000
    crops = np.zeros((frames, size, size, 3), np.uint8)
    crops[:] = (255 * (1 + np.log10(spoken / spoken.max()) / 3).clip(0, 1)).astype(np.uint8)[:, None, None, None]
    aperture = spoken * 0.1 + rng.normal(0, 0.002, frames)
    return Piece(crops, aperture.astype(np.float32), sound.clip(-30000, 30000).astype(np.int16))


def _late(piece: Piece, frames: int) -> Piece:
    return Piece(piece.crops, piece.aperture, shift_sound(piece.sound, -frames, FPS))


class Bright:
    """An expert that compares how bright a mouth is with how loud its middle column is."""

    def embed_face(self, halves: Tensor) -> Tensor:
        return self._angle((halves[:, 6:9].mean(dim=(1, 2, 3)) - 0.55) / 0.45)

    def embed_audio(self, mels: Tensor) -> Tensor:
        return self._angle((mels[:, 0, :, 5:8].mean(dim=(1, 2)) + 1.5) / 2.2)

    def _angle(self, level: Tensor) -> Tensor:
        angle = level * 4
        return F.normalize(torch.stack([torch.cos(angle), torch.sin(angle)], dim=1), dim=1)


BRIGHT_EXPERT = OffsetExpert(Bright(), 8, MelWindow(12, -6))


@pytest.mark.parametrize("expert", [None, BRIGHT_EXPERT])
@pytest.mark.parametrize("late", [-4, -2, 0, 2, 3, 5])
def test_late_sound_is_found(expert: OffsetExpert | None, late: int) -> None:
    pieces = [_late(_recording(seed), late) for seed in (1, 2)]
    assert find_offset(pieces, FPS, expert).frames == pytest.approx(late, abs=0 if expert is None else 1)


@pytest.mark.parametrize("expert", [None, BRIGHT_EXPERT])
@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [_recording(1, 40)],
        [Piece(_recording(1).crops, _recording(2).aperture, _recording(3).sound)],
        [Piece(np.zeros((120, 8, 8, 3), np.uint8), np.zeros(120, np.float32), _recording(3).sound)],
        [Piece(_recording(1).crops, _recording(1).aperture, np.zeros(120 * 640, np.int16))],
    ],
)
def test_unclear_evidence_gives_no_offset(pieces: list[Piece], expert: OffsetExpert | None) -> None:
    found = find_offset(pieces, FPS, expert)
    assert found.frames == 0 and np.isfinite(found.height)


@pytest.mark.parametrize(
    ("frames", "wanted"), [(0, [1, 2, 3, 4]), (1, [3, 4, 0, 0]), (-1, [0, 0, 1, 2]), (9, [0] * 4), (-9, [0] * 4)]
)
def test_sound_is_moved_by_whole_frames(frames: int, wanted: list[int]) -> None:
    moved = shift_sound(np.array([1, 2, 3, 4], np.int16), frames, 8000.0)
    assert moved.tolist() == wanted and moved.dtype == np.int16
