from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from model.errors import BackboneError
from model.training.perceptual import Lpips, load_lpips

# Found, not imported: importing lpips before the operators are declared is what the module under test prevents.
pytestmark = pytest.mark.skipif(find_spec("lpips") is None, reason="lpips comes with the extra [train]")


@pytest.fixture(scope="module")
def random_lpips() -> Lpips:
    return load_lpips("random")


def test_distance_is_zero_to_itself_and_grows(random_lpips: Lpips) -> None:
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    near, far = (random_lpips(picture, (picture + noise * share).clamp(0, 1)) for share in (0.02, 0.3))
    assert float(random_lpips(picture, picture)) == 0
    assert 0 < float(near) < float(far)


def test_gradient_reaches_the_picture_only(random_lpips: Lpips) -> None:
    drawn = torch.rand(1, 3, 64, 64, requires_grad=True)
    random_lpips(drawn, torch.rand(1, 3, 64, 64)).backward()
    assert drawn.grad is not None
    assert float(drawn.grad.abs().max()) > 0
    assert all(parameter.grad is None for parameter in random_lpips.parameters())


def test_random_backbone_is_the_same_every_time(random_lpips: Lpips) -> None:
    torch.rand(7)
    again = load_lpips("random").state_dict()
    for name, tensor in random_lpips.state_dict().items():
        torch.testing.assert_close(again[name], tensor)


def backbone_of(lpips: Lpips) -> dict[str, torch.Tensor]:
    """Return the weights of the backbone by name."""
    return {
        name.removeprefix("distance.net."): value
        for name, value in lpips.state_dict().items()
        if name.startswith("distance.net.")
    }


def test_backbone_comes_from_a_file(tmp_path: Path, random_lpips: Lpips) -> None:
    layers = {"features." + name.split(".", 1)[1]: value + 1 for name, value in backbone_of(random_lpips).items()}
    torch.save(layers | {"classifier.1.weight": torch.zeros(2)}, tmp_path / "alexnet.pth")
    loaded = load_lpips(str(tmp_path / "alexnet.pth"))
    name = "slice1.0.weight"
    torch.testing.assert_close(backbone_of(loaded)[name], layers["features.0.weight"])


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "put torchvision's weights at"), (b"junk", "not a file of plain weights")]
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
        ({"features.0.weight": torch.zeros(1)}, r"features\.\d+\.\w+ is missing"),
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
