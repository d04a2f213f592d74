import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.network.alignment import AdaptiveInstanceNorm
from model.network.folding import fold_batch_norms
from model.network.fourier import dft_matrices
from model.network.generator import Drawing, Generator, GeneratorConfig, join_faces, known_face
from model.network.hearing import Hearing, HearingConfig, normal_articulation
from model.network.sync_expert import SyncExpert, SyncExpertConfig, stack_lower_halves


@pytest.mark.parametrize(("height", "width"), [(6, 6), (12, 12), (7, 5), (1, 4)])
def test_dft_matrices_are_the_transform_and_undo_it(height: int, width: int) -> None:
    picture = torch.randn(height, width)
    forward, inverse = dft_matrices(height, width)
    expected = torch.view_as_real(torch.fft.rfft2(picture, norm="ortho")).flatten()
    torch.testing.assert_close(forward @ picture.flatten(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(inverse @ forward @ picture.flatten(), picture.flatten(), atol=1e-5, rtol=0)


def test_adain_starts_as_instance_norm_and_then_follows_the_latent() -> None:
    norm = AdaptiveInstanceNorm(4, latent=8)
    x, latent = torch.randn(2, 4, 6, 6) * 3 + 1, torch.randn(2, 8)
    torch.testing.assert_close(norm(x, latent), torch.nn.functional.instance_norm(x), atol=1e-4, rtol=1e-4)
    last = norm.style[-1]
    assert isinstance(last, torch.nn.Linear)
    last.bias.data[:4], last.bias.data[4:] = 1.0, 5.0  # gamma, beta
    aligned = norm(x, latent)
    torch.testing.assert_close(aligned.mean((2, 3)), torch.full((2, 4), 5.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(aligned.std((2, 3), correction=0), torch.full((2, 4), 2.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("flags", list(itertools.product([True, False], repeat=3)))
def test_every_ablation_draws_learns_and_folds(flags: tuple[bool, bool, bool]) -> None:
    cbam, ffc, adain = flags
    network = Generator(GeneratorConfig(32, 0.5, use_cbam=cbam, use_ffc=ffc, use_adain=adain))
    faces, mels, known = torch.rand(2, 6, 32, 32), torch.randn(2, 1, 80, 32), torch.rand(2, 3, 32, 32)
    (network(faces, mels).compose(known) * torch.rand(2, 3, 32, 32)).mean().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in network.parameters())
    network.eval()
    with torch.no_grad():
        plain = network(faces, mels).compose(known)
        fold_batch_norms(network)
        torch.testing.assert_close(network(faces, mels).compose(known), plain, atol=1e-4, rtol=1e-3)
    assert plain.shape == (2, 3, 32, 32)
    assert 0 <= float(plain.min()) <= float(plain.max()) <= 1


def test_an_untrained_network_shows_the_known_pixels() -> None:
    network = Generator(GeneratorConfig(32, 0.25)).eval()
    torch.nn.init.zeros_(network.displace.fields)
    assert network.head.bias is not None
    torch.nn.init.constant_(network.head.bias, -40.0)  # a closed mask
    target, reference = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        drawing = network(join_faces(target, reference, 0.25), torch.zeros(2, 1, 80, 32))
    drawn = drawing.compose(known_face(target, reference, 0.25))
    torch.testing.assert_close(drawn[:, :, :8], target[:, :, :8], atol=1e-4, rtol=0)
    torch.testing.assert_close(drawn[:, :, 8:], reference[:, :, 8:], atol=1e-4, rtol=0)


def test_a_drawing_is_composed_at_any_size() -> None:
    """An offset moves the same share of a picture of any size, and the mask lays one colour over it."""
    offsets = torch.zeros(1, 2, 8, 8)
    offsets[:, 0] = 0.25  # an eighth of the picture to the right
    mask = torch.zeros(1, 1, 16, 16)
    mask[:, :, 12:] = 1
    drawing = Drawing(offsets, torch.full((1, 3, 16, 16), 0.5), mask)
    for size in (16, 64):
        ramp = torch.linspace(0, 1, size).expand(1, 3, size, size)
        shown = drawing.compose(ramp)
        assert shown.shape == (1, 3, size, size)
        middle = slice(size // 4, size // 2)
        moved = ramp[:, :, middle, size // 8 + size // 4 : size // 8 + size // 2]
        torch.testing.assert_close(shown[:, :, middle, middle], moved, atol=1e-5, rtol=0)
        torch.testing.assert_close(shown[:, :, -size // 8 :], torch.full_like(shown[:, :, -size // 8 :], 0.5))


def test_a_known_articulation_replaces_the_predicted_one() -> None:
    network = Generator(GeneratorConfig(32, 0.25)).eval()
    faces, mels = torch.rand(1, 6, 32, 32), torch.randn(1, 1, 80, 32)
    network.hearing.emphasis.fill_(1.5)
    with torch.no_grad():
        latent, predicted = network.hearing(mels)
        emphasised = network.hearing.emphasised(predicted)
        torch.testing.assert_close(network.draw(faces, latent, emphasised).colours, network(faces, mels).colours)
        assert not torch.equal(network.draw(faces, latent, predicted + 3).colours, network(faces, mels).colours)


def test_emphasis_restores_spread_and_rest() -> None:
    hearing = Hearing(HearingConfig())
    known = torch.randn(400, 7, generator=torch.Generator().manual_seed(2))
    silence = torch.full((7,), -0.5)
    hearing.calibrate(known * torch.tensor([0.5, 0.8, 1.0, 2.0, 0.1, 0.5, 0.5]), known, silence)
    torch.testing.assert_close(hearing.emphasis, torch.tensor([2.6, 2.125, 1.7, 1.3, 2.5, 2.0, 2.0]))
    rest = normal_articulation(torch.zeros(2, 7))
    torch.testing.assert_close(hearing.emphasised(silence.expand(2, 7)), rest)
    torch.testing.assert_close(hearing.emphasised(silence + torch.eye(7)), rest[0] + torch.diag(hearing.emphasis))


@pytest.mark.parametrize(("size", "width"), [(96, 1.0), (128, 0.5)])
def test_cost_of_a_crop(size: int, width: float) -> None:
    network = Generator(GeneratorConfig(size, width)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        drawing = network(torch.rand(1, 6, size, size), torch.zeros(1, 1, 80, 32))
    assert drawing.colours.shape == (1, 3, size, size)
    assert counter.get_total_flops() < 4e9


@pytest.mark.parametrize("kind", [GeneratorConfig, SyncExpertConfig])
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"image_size": 90}, "image_size\n.*multiple of 16"),
        ({"image_size": 16}, "image_size\n.*greater than or equal to 32"),
        ({"width": 0.0}, "width\n.*greater than or equal to 0.25"),
        ({"image_size": 96.0}, "image_size\n.*valid integer"),
        ({"width": float("inf")}, "width\n.*finite number"),
        ({"height": 96}, "height\n.*Unexpected"),
    ],
)
def test_an_impossible_shape_is_refused(
    kind: type[GeneratorConfig | SyncExpertConfig], values: dict[str, float], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        kind(**values)  # type: ignore[arg-type]


def test_folding_needs_eval_mode() -> None:
    with pytest.raises(ValueError, match="eval mode"):
        fold_batch_norms(Generator(GeneratorConfig(32, 0.25)))


def test_expert_embeds_on_the_unit_sphere() -> None:
    expert = SyncExpert(SyncExpertConfig(64, 0.25))
    crops = torch.rand(3, 5, 3, 64, 64)
    halves = stack_lower_halves(crops)
    assert halves.shape == (3, 15, 32, 64)
    torch.testing.assert_close(halves[:, 3:6], crops[:, 1, :, 32:])
    for vector in expert(halves, torch.randn(3, 1, 80, 32)):
        torch.testing.assert_close(vector.norm(dim=1), torch.ones(3))
