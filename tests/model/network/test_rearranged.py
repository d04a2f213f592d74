"""A rearranged generator draws what the plain one draws."""

from __future__ import annotations

import pytest
import torch

from model.network.folding import fold_batch_norms
from model.network.generator import Generator, GeneratorConfig
from model.network.rearranged import LARGE_GRID, SeparableTransform, column_matrix, rearrange, row_matrices


def _generator(config: GeneratorConfig) -> Generator:
    """Return a folded generator in which no weight is zero, so that every layer changes what is drawn."""
    torch.manual_seed(5)
    network = Generator(config).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.get_buffer("running_mean").normal_(std=0.1)
            module.get_buffer("running_var").uniform_(0.5, 1.5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    fold_batch_norms(network)
    return network.requires_grad_(False)


def _inputs(size: int) -> tuple[torch.Tensor, ...]:
    return torch.rand(2, 6, size, size), torch.randn(2, 1, 80, 32), torch.tensor([[0.8, 1.3], [1.1, 0.9]])


@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(96, 0.5),  # two pixels packed, a large grid
        GeneratorConfig(32, 1.0),  # 16 channels from the first layer on: nothing to pack there
        GeneratorConfig(48, 0.25),  # grids of 3
        GeneratorConfig(32, 0.5, use_cbam=False, use_ffc=False, use_adain=False),
    ],
)
def test_it_draws_the_same(config: GeneratorConfig) -> None:
    network, inputs = _generator(config), _inputs(config.image_size)
    plain = network(*inputs)
    rearrange(network)
    drawn = network(*inputs)
    for name in ("offsets", "colours", "mask"):
        assert float(getattr(plain, name).std()) > 1e-3  # something to compare
        torch.testing.assert_close(getattr(drawn, name), getattr(plain, name), atol=1e-4, rtol=1e-3)
    separable = [module for module in network.modules() if isinstance(module, SeparableTransform)]
    assert len(separable) == (2 if config.image_size // 4 >= LARGE_GRID else 0)


@pytest.mark.parametrize("rearranged", [False, True])
@pytest.mark.parametrize("row", [1, 5, 13])
def test_rows_that_are_left_out_change_nothing_below(rearranged: bool, row: int) -> None:
    network, inputs = _generator(GeneratorConfig(32, 0.5)), _inputs(32)
    if rearranged:
        rearrange(network)
    whole, lower = network(*inputs), network(*inputs, first_row=row)
    torch.testing.assert_close(lower.offsets, whole.offsets)
    for name in ("colours", "mask"):
        torch.testing.assert_close(getattr(lower, name), getattr(whole, name)[:, :, row:], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("side", [6, 24, 7])
def test_rows_and_columns_together_are_the_transform(side: int) -> None:
    picture = torch.randn(side, side)
    forward, inverse = row_matrices(side)
    column = column_matrix(side)
    rows = picture @ forward.T
    spectrum = (column @ rows.reshape(2 * side, -1)).reshape(side, 2, -1)
    wanted = torch.fft.rfft2(picture, norm="ortho")
    torch.testing.assert_close(torch.complex(spectrum[:, 0], spectrum[:, 1]), wanted, atol=1e-5, rtol=0)
    back = (column.T @ spectrum.reshape(2 * side, -1)).reshape(side, -1) @ inverse.T
    torch.testing.assert_close(back, picture, atol=1e-5, rtol=0)
