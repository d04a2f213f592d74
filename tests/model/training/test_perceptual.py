"""LPIPS equals that of its package, takes its weights from where the recipe says, and sees as people do if trained."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from skimage import data

from model.errors import BackboneError
from model.evaluation.frechet import build_inception
from model.training.perceptual import (
    HED_WEIGHTS,
    STAGES,
    TORCHVISION,
    Lpips,
    alexnet_stages,
    backbone_name,
    hed_vgg16_is_installed,
    load_lpips,
    vgg16_stages,
)

# Found, not imported: importing lpips needs operators of torchvision that `build_inception` declares.
pytestmark = pytest.mark.skipif(find_spec("lpips") is None, reason="lpips comes with the extra [train]")
needs_hed = pytest.mark.skipif(not hed_vgg16_is_installed(), reason=f"{HED_WEIGHTS.install}, and the extra [train]")


@pytest.fixture(scope="module")
def random_lpips() -> Lpips:
    return load_lpips("random")


@pytest.fixture(scope="module")
def hed_lpips() -> Lpips:
    return load_lpips("hed-vgg16")


def two_pictures(side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(3))
    return picture, (picture + noise * 0.1).clamp(0, 1)


def test_distance_is_zero_to_itself_and_grows(random_lpips: Lpips) -> None:
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    near, far = (random_lpips(picture, (picture + noise * share).clamp(0, 1)) for share in (0.02, 0.3))
    assert float(random_lpips(picture, picture)) == 0
    assert 0 < float(near) < float(far)


def test_distance_is_that_of_the_package(random_lpips: Lpips) -> None:
    build_inception()
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision by names that torchvision has deprecated
        theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    layers = {f"features.{k}": layer for k, layer in enumerate(layer for stage in alexnet_stages() for layer in stage)}
    for name, value in theirs.net.state_dict().items():
        number, kind = name.split(".")[1:]
        value.copy_(layers[f"features.{number}"].get_parameter(kind))
    first, second = two_pictures()
    wanted = theirs(first * 2 - 1, second * 2 - 1).item()
    assert float(random_lpips(first, second)) == pytest.approx(wanted, rel=1e-3)


def test_early_stages_are_a_part_of_the_sum(random_lpips: Lpips) -> None:
    first, second = two_pictures()
    found = [float(load_lpips("random", stages)(first, second)) for stages in range(1, STAGES + 1)]
    assert found == sorted(found) and 0 < found[0] < found[-1]
    assert found[-1] == pytest.approx(float(random_lpips(first, second)))


def test_gradient_reaches_the_picture_only(random_lpips: Lpips) -> None:
    drawn = torch.rand(1, 3, 64, 64, requires_grad=True)
    random_lpips(drawn, torch.rand(1, 3, 64, 64)).backward()
    assert drawn.grad is not None
    assert float(drawn.grad.abs().max()) > 0
    assert all(parameter.grad is None for parameter in random_lpips.parameters())


def test_gradient_is_finite_where_all_features_are_zero() -> None:
    network = Lpips([torch.nn.ReLU()], [torch.ones(3)], TORCHVISION)
    dark = torch.zeros(1, 3, 4, 4, requires_grad=True)
    network(dark, torch.ones(1, 3, 4, 4)).backward()
    assert dark.grad is not None and bool(dark.grad.isfinite().all())


def test_random_backbone_is_the_same_every_time(random_lpips: Lpips) -> None:
    torch.rand(7)
    again = load_lpips("random").state_dict()
    for name, tensor in random_lpips.state_dict().items():
        torch.testing.assert_close(again[name], tensor)


@pytest.mark.parametrize(
    ("backbone", "name"), [("hed-vgg16", "HED-VGG16"), ("random", "random"), ("w/alexnet.pth", "AlexNet")]
)
def test_tables_name_the_backbone(backbone: str, name: str) -> None:
    assert backbone_name(backbone) == name


def torchvision_state(shift: float) -> dict[str, torch.Tensor]:
    """Return weights of AlexNet as torchvision names them."""
    layers = enumerate(layer for stage in alexnet_stages() for layer in stage)
    return {
        f"features.{number}.{name}": value.detach() + shift
        for number, layer in layers
        for name, value in layer.named_parameters()
    }


def test_backbone_comes_from_a_file(tmp_path: Path) -> None:
    state = torchvision_state(shift=1.0)
    torch.save(state | {"classifier.1.weight": torch.zeros(2)}, tmp_path / "alexnet.pth")
    stages = load_lpips(str(tmp_path / "alexnet.pth")).stages
    torch.testing.assert_close(stages.get_parameter("0.0.weight").data, state["features.0.weight"])
    torch.testing.assert_close(stages.get_parameter("4.0.bias").data, state["features.10.bias"])


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "put torchvision's AlexNet weights at"), (b"junk", "not a file of plain weights")]
)
def test_missing_backbone_names_the_file(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "alexnet.pth"
    if content:
        path.write_bytes(content)
    with pytest.raises(BackboneError, match=sentence) as caught:
        load_lpips(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"features.0.weight": torch.zeros(64, 3, 11, 11)}, r"features\.0\.bias is missing"),
        (
            {f"features.{k}.{name}": torch.zeros(1) for k in (0, 3, 6, 8, 10) for name in ("weight", "bias")},
            r"features\.0\.weight has shape \(1,\), not \(64, 3, 11, 11\)",
        ),
        (torch.zeros(3), "holds no table of weights"),
        ({"features.0.weight": 1.0}, "holds no table of weights"),
    ],
)
def test_backbone_that_does_not_fit_is_named(tmp_path: Path, content: Any, sentence: str) -> None:
    torch.save(content, tmp_path / "alexnet.pth")
    with pytest.raises(BackboneError, match=sentence):
        load_lpips(str(tmp_path / "alexnet.pth"))


def test_vgg16_has_the_layers_of_its_paper() -> None:
    widths = [[layer.out_channels for layer in stage if isinstance(layer, torch.nn.Conv2d)] for stage in vgg16_stages()]
    assert widths == [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]


@needs_hed
def test_loading_leaves_the_random_numbers_of_a_run_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    load_lpips("hed-vgg16", 2)
    torch.testing.assert_close(torch.rand(3), wanted)


def face_crop() -> torch.Tensor:
    """Return the astronaut's face, (1,3,96,96) in 0..1."""
    face = Image.fromarray(data.astronaut()).crop((160, 30, 288, 158)).resize((96, 96), Image.Resampling.LANCZOS)
    return as_batch(np.asarray(face, np.float32) / 255)


def as_batch(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]


def blurred(face: torch.Tensor) -> torch.Tensor:
    pixels = Image.fromarray((face[0].permute(1, 2, 0) * 255).round().byte().numpy())
    return as_batch(np.asarray(pixels.filter(ImageFilter.GaussianBlur(1.5)), np.float32) / 255)


def with_squared_error(face: torch.Tensor, error: float, change) -> torch.Tensor:
    """Return change(face, strength) of that strength which gives a mean squared error."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if float((change(face, middle) - face).square().mean()) < error else (low, middle)
    return change(face, high)


def darker(face: torch.Tensor, strength: float) -> torch.Tensor:
    return face * (1 - strength)


def moved(face: torch.Tensor, strength: float) -> torch.Tensor:
    """Shift the face to the left, by up to 8 px."""
    matrix = torch.tensor([[[1.0, 0.0, strength * 16 / 96], [0.0, 1.0, 0.0]]])
    grid = torch.nn.functional.affine_grid(matrix, list(face.shape), align_corners=False)
    return torch.nn.functional.grid_sample(face, grid, padding_mode="border", align_corners=False)


@needs_hed
@pytest.mark.parametrize("stages", [3, STAGES])
@pytest.mark.parametrize(("change", "share"), [(darker, 4.0), (moved, 1.5)])
def test_hed_finds_a_blurred_face_worse_than_one_with_a_larger_squared_error(change, share: float, stages: int) -> None:
    """People do too. The mean squared error of the other face is `share` times that of the blurred one."""
    face = face_crop()
    blur = blurred(face)
    other = with_squared_error(face, share * float((blur - face).square().mean()), change)
    network = load_lpips("hed-vgg16", stages)
    assert float(network(blur, face)) > 1.2 * float(network(other, face))


def test_random_weights_are_misled_by_the_squared_error(random_lpips: Lpips) -> None:
    face = face_crop()
    blur = blurred(face)
    other = with_squared_error(face, 4 * float((blur - face).square().mean()), darker)
    assert float(random_lpips(blur, face)) < float(random_lpips(other, face))


@needs_hed
def test_hed_gets_colours_in_the_order_of_its_file(hed_lpips: Lpips) -> None:
    import h5py

    picture, _ = two_pictures(16)
    with h5py.File(HED_WEIGHTS.locate("LPIPS")) as file:
        kernel, bias = (file["block1/layers/conv2d/vars"][part][()] for part in "01")
    given = picture.flip(1) * 255 - torch.tensor([104.00699, 116.66877, 122.67892])[:, None, None]
    wanted = torch.nn.functional.conv2d(
        given, torch.tensor(kernel.transpose(3, 2, 0, 1)), torch.tensor(bias), padding=1
    )
    first = hed_lpips.stages.get_submodule("0.0")
    found = first((picture - hed_lpips.mean) / hed_lpips.deviation)
    torch.testing.assert_close(found, wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0)
