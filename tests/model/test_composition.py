"""Composition on arrays gives the same pictures as composition in training."""

import numpy as np
import pytest
import torch

from model.composition import compose, shrink
from model.network.generator import Drawing, known_face

SIZE = 32


def smooth(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return a picture in 0..1 that is as smooth as a face."""
    coarse = torch.from_numpy(rng.random((1, shape[2], 6, 6), np.float32))
    fine = torch.nn.functional.interpolate(coarse, size=shape[:2], mode="bicubic").clamp(0, 1)
    return fine[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_it_equals_the_composition_in_training(factor: int) -> None:
    rng, size = np.random.default_rng(1), SIZE * factor
    target, reference = ((smooth(rng, size, size, 3) * 255).astype(np.uint8) for _ in range(2))
    offsets = ((smooth(rng, SIZE // 2, SIZE // 2, 2) - 0.5) * 0.3).transpose(2, 0, 1).copy()
    colours, mask = (smooth(rng, SIZE, SIZE, 3) * 255).astype(np.uint8), smooth(rng, SIZE, SIZE, 1)[..., 0].copy()
    composed = compose(target, reference, 0.4, offsets, colours, mask)

    def tensor(pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255

    drawing = Drawing(torch.from_numpy(offsets)[None], tensor(colours), torch.from_numpy(mask)[None, None])
    wanted = drawing.compose(known_face(tensor(target), tensor(reference), 0.4))[0].permute(1, 2, 0).numpy() * 255
    seam = np.abs(np.arange(size) / size - 0.4) < 0.25  # at the seam, cubic and linear interpolation differ
    assert np.abs(composed[~seam].astype(float) - wanted[~seam]).max() < 8
    assert np.abs(composed.astype(float) - wanted).mean() < 1.0


def test_a_closed_mask_shows_the_known_pixels() -> None:
    target, reference = (np.random.default_rng(k).integers(0, 256, (64, 64, 3), dtype=np.uint8) for k in (1, 2))
    still, closed = (np.zeros(shape, np.float32) for shape in ((2, 16, 16), (SIZE, SIZE)))
    shown = compose(target, reference, 0.25, still, np.zeros((SIZE, SIZE, 3), np.uint8), closed)
    np.testing.assert_array_equal(shown[:16], target[:16])
    np.testing.assert_array_equal(shown[16:], reference[16:])


def test_shrinking_is_the_mean() -> None:
    crops = np.random.default_rng(3).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    wanted = crops.reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(shrink(crops, SIZE) - wanted).max() <= 0.5
    assert shrink(crops, 64) is crops
