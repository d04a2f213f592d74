import pytest
import torch

from model.framing import LOWER_FACE
from model.training.losses import (
    articulation_loss,
    change_weights,
    critic_loss,
    edge_loss,
    flow_loss,
    mask_loss,
    matching_loss,
    motion_loss,
    mouth_loss,
    mouth_weights,
    opening_masks,
    pixel_loss,
    sync_loss,
)


def test_mouth_weights_peak_at_the_mouth_and_keep_the_scale() -> None:
    weights = mouth_weights(96, LOWER_FACE)
    assert float(weights.mean()) == pytest.approx(1.0, abs=1e-5)
    row, column = divmod(int(weights.argmax()), 96)
    assert (round(LOWER_FACE.row(0.64) * 96) - 1 <= row <= round(LOWER_FACE.row(0.64) * 96)) and column in (47, 48)
    assert float(weights[:30].max()) < 0.3 * float(weights.max())
    drawn, wanted = torch.rand(2, 3, 96, 96), torch.rand(2, 3, 96, 96)
    flat = torch.ones(96, 96)
    torch.testing.assert_close(mouth_loss(drawn, wanted, flat), pixel_loss(drawn, wanted))


def test_changed_places_weigh_more() -> None:
    reference, place = torch.zeros(1, 3, 4, 4), torch.ones(4, 4)
    target = reference.clone()
    target[:, :, 1, 2] = 0.1
    weights = change_weights(target, reference, place)
    assert weights.shape == (1, 1, 4, 4)
    assert float(weights[0, 0, 1, 2]) == pytest.approx(2.0)
    assert float(weights.sum()) == pytest.approx(17.0)


def test_blur_costs_edges_and_a_shift_of_colour_does_not() -> None:
    sharp = (torch.arange(32) % 2).float().expand(1, 3, 32, 32)
    flat = torch.ones(32, 32)
    assert float(edge_loss(sharp + 0.3, sharp, flat)) < 1e-5
    assert float(edge_loss(torch.full_like(sharp, 0.5), sharp, flat)) > 0.9


def test_motion_counts_only_changes() -> None:
    still, moving = torch.zeros(1, 5, 3, 8, 8), torch.arange(5.0)[None, :, None, None, None].expand(1, 5, 3, 8, 8)
    flat = torch.ones(8, 8)
    assert float(motion_loss(moving + 7, moving, flat)) == 0
    assert float(motion_loss(still, moving, flat)) == 1


def test_matching_finds_pairs_of_the_same_moment() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(3, 6, 32, generator=torch.Generator().manual_seed(1)), dim=2)
    loss, found = matching_loss(vectors, vectors, torch.tensor(30.0))
    mixed, chance = matching_loss(vectors, vectors.roll(1, dims=1), torch.tensor(30.0))
    assert (float(found), float(chance)) == (1.0, 0.0)
    assert float(loss) < 0.01 < 5 < float(mixed)


def test_sync_prefers_its_own_moment() -> None:
    face = torch.eye(4)[:2]
    others = torch.eye(4)[2:].expand(2, 2, 4)
    good, bad = (float(sync_loss(face, audio, others, torch.tensor(10.0))) for audio in (face, -face))
    assert good < 0.01 < 5 < bad


def test_unknown_articulation_does_not_count() -> None:
    predicted = torch.tensor([[0.0, 0.0], [5.0, 5.0]], requires_grad=True)
    known = torch.tensor([[3.0, float("nan")], [float("nan"), float("nan")]])
    loss = articulation_loss(predicted, known)
    loss.backward()
    assert float(loss.detach()) == 2.5  # smooth L1 of 3
    torch.testing.assert_close(predicted.grad, torch.tensor([[-1.0, 0.0], [0.0, 0.0]]))
    assert float(articulation_loss(predicted.detach(), torch.full((2, 2), float("nan")))) == 0


def test_flow_compares_offsets_with_the_sources_of_points() -> None:
    offsets = torch.zeros(1, 2, 8, 8)
    offsets[:, 0], offsets[:, 1] = 0.1, -0.2
    target = torch.tensor([[[0.0, 0.5], [0.3, -0.9], [0.2, 0.6]]])
    source = target + torch.tensor([0.1, -0.2])
    source[0, 1] += 5  # above the hidden rows: does not count
    assert float(flow_loss(offsets, target, source, 0.4)) < 1e-6
    assert float(flow_loss(offsets * 0, target, source, 0.4)) == pytest.approx(0.3, abs=1e-5)
    unknown = torch.full_like(target, float("nan"))
    assert float(flow_loss(offsets, unknown, unknown, 0.4)) == 0


def test_an_opening_is_the_inside_of_its_contour() -> None:
    square = torch.tensor([[[-0.5, -0.25], [0.5, -0.25], [0.5, 0.25], [-0.5, 0.25]]])
    mask = opening_masks(square, 16)
    assert mask.shape == (1, 1, 16, 16)
    wanted = torch.zeros(16, 16)
    wanted[6:10, 4:12] = 1
    torch.testing.assert_close(mask[0, 0], wanted)
    assert float(opening_masks(torch.zeros(1, 5, 2), 16).sum()) == 0


def test_the_error_of_a_mask_is_weighted_by_place() -> None:
    wanted = torch.tensor([1.0, 0.0]).expand(1, 1, 2, 2)
    flat, left = torch.ones(2, 2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    right, wrong = (float(mask_loss(mask, wanted, flat)) for mask in (wanted, 1 - wanted))
    assert right < 1e-3 < 5 < wrong
    assert float(mask_loss(torch.ones(1, 1, 2, 2), wanted, left)) < 1e-3


def test_a_critic_has_a_high_loss_for_a_confusion() -> None:
    undecided, sure = torch.zeros(2, 1, 3, 3), torch.full((2, 1, 3, 3), 9.0)
    assert float(critic_loss(undecided, undecided)) == pytest.approx(2 * 0.6931, abs=1e-3)
    assert float(critic_loss(sure, -sure)) < 1e-3 < 17 < float(critic_loss(-sure, sure))
