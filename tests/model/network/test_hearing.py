"""Hearing through a speech encoder: steady predictions in serving, and lips that move as far as the film's."""

from __future__ import annotations

import pytest
import torch

from model.articulation import Channel
from model.network.hearing import Hearing, HearingConfig
from model.speech_encoder.port import FEATURES, HEARD_STEPS, MARGIN_STEPS, WINDOW_STEPS


@pytest.fixture
def hearing() -> Hearing:
    torch.manual_seed(0)
    network = Hearing(HearingConfig(speech_encoder="any")).eval()
    network.emphasis.copy_(torch.linspace(1, 2, 7))
    network.silence.copy_(torch.linspace(-0.5, 0.5, 7))
    return network


def _windows(count: int) -> torch.Tensor:
    return torch.randn(count, 1, WINDOW_STEPS, FEATURES, generator=torch.Generator().manual_seed(1))


def test_a_prediction_is_a_weighted_mean_of_three_moments(hearing: Hearing) -> None:
    windows = _windows(3)
    with torch.no_grad():
        latent, steady = hearing(windows)
        parts = []
        for first in (0, MARGIN_STEPS, 2 * MARGIN_STEPS):
            centre = torch.zeros_like(windows)
            centre[:, :, MARGIN_STEPS : MARGIN_STEPS + HEARD_STEPS] = windows[:, :, first : first + HEARD_STEPS]
            parts.append(_single(hearing, centre)[1])
        torch.testing.assert_close(steady, (parts[0] + 4 * parts[1] + parts[2]) / 6)
        torch.testing.assert_close(latent, _single(hearing, windows)[0])


def _single(hearing: Hearing, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what training would predict, without its dropout."""
    hearing.training = True  # of this module alone: the dropout below it stays off
    try:
        latent, predicted = hearing(windows)
        return latent, predicted
    finally:
        hearing.training = False


def test_a_person_who_moves_farther_opens_and_spreads_farther(hearing: Hearing) -> None:
    predicted = torch.randn(2, 7, generator=torch.Generator().manual_seed(2))
    usual = hearing.emphasised(predicted)
    torch.testing.assert_close(hearing.emphasised(predicted, torch.ones(2, 2)), usual)
    moved = hearing.emphasised(predicted, torch.tensor([[1.5, 1.0], [1.0, 0.5]]))
    rest = hearing.emphasised(hearing.silence[None])[0]
    share = (moved - rest) / (usual - rest)
    wanted = torch.ones(2, 7)
    wanted[0, [Channel.APERTURE, Channel.JAW]] = 1.5
    wanted[1, [Channel.WIDTH, Channel.PROTRUSION]] = 0.5
    torch.testing.assert_close(share, wanted, rtol=1e-3, atol=1e-3)


def test_silence_is_rest_whatever_the_movement(hearing: Hearing) -> None:
    silence = hearing.silence[None]
    torch.testing.assert_close(hearing.emphasised(silence, torch.full((1, 2), 1.5)), hearing.emphasised(silence))
