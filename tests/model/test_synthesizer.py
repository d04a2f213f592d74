from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.audio import AROUND_FRAME, mel_windows
from model.checkpoint import build_network, save_checkpoint
from model.checkpoint_config import PUBLISHED_WAV2LIP, CheckpointConfig
from model.composition import FilmedCrops, Part
from model.interior import Interior, Layer
from model.network.generator import Drawing, Generator
from model.runtimes.devices import choose_device, choose_precision
from model.runtimes.torch_runtime import TorchRuntime
from model.synthesizer import Synthesizer, load_synthesizer

SIZE = 32
CONFIG = CheckpointConfig(image_size=SIZE, width=0.25)
HIDDEN = round(SIZE * CONFIG.framing.hidden_from)


class Echo(nn.Module):
    """Network that returns one half of its input, to show exactly what it was given."""

    def __init__(self, first_channel: int = 0, largest_batch: int = 1000) -> None:
        super().__init__()
        self.first_channel, self.largest_batch = first_channel, largest_batch
        self.batches: list[int] = []

    def forward(self, faces: Tensor, mels: Tensor) -> Tensor:
        if len(faces) > self.largest_batch:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(len(faces))
        return faces[:, self.first_channel : self.first_channel + 3]


def _crops(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def _mels(count: int) -> np.ndarray:
    return np.random.default_rng(4).uniform(-4, 4, (count, 80, 32)).astype(np.float32)


def _synthesizer(
    network: nn.Module, batch_size: int = 4, config: CheckpointConfig = CONFIG, precision: str = "fp32"
) -> Synthesizer:
    return Synthesizer(TorchRuntime(network.eval(), "cpu", precision), config, batch_size)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_lower_rows_are_hidden_and_the_reference_is_whole(order: str) -> None:
    config = CheckpointConfig(image_size=SIZE, channel_order=order)  # type: ignore[arg-type]
    crops = _crops(5)
    target = _synthesizer(Echo(0), config=config).synthesize(crops, _mels(5))
    reference = _synthesizer(Echo(3), config=config).synthesize(crops, _mels(5))
    np.testing.assert_array_equal(target[:, :HIDDEN], crops[:, :HIDDEN])
    assert not target[:, HIDDEN:].any()
    np.testing.assert_array_equal(reference, crops)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_any_count_and_any_split_give_the_same_pixels(count: int, precision: str) -> None:
    synthesizer = _synthesizer(build_network(CONFIG), precision=precision)
    crops, mels = _crops(count), _mels(count)
    whole = synthesizer.synthesize(crops, mels)
    assert whole.shape == crops.shape and whole.dtype == np.uint8
    apart = [synthesizer.synthesize(crops[k : k + 1], mels[k : k + 1]) for k in range(count)]
    np.testing.assert_array_equal(whole, np.concatenate(apart) if apart else whole)


@pytest.mark.parametrize(("largest", "batches"), [(8, [8, 8]), (3, [2] * 5), (1, [1] * 9)])
def test_batch_is_halved_when_memory_runs_out(largest: int, batches: list[int]) -> None:
    echo = Echo(3, largest_batch=largest)
    crops = _crops(9)
    np.testing.assert_array_equal(_synthesizer(echo, batch_size=8).synthesize(crops, _mels(9)), crops)
    assert echo.batches == batches


def test_warming_up_draws_a_batch_as_large_as_all_others() -> None:
    network = Echo()
    _synthesizer(network, batch_size=5).warm_up()
    assert network.batches == [5]


def test_too_little_memory_for_one_crop_is_an_error() -> None:
    with pytest.raises(MemoryError, match="single crop"):
        _synthesizer(Echo(largest_batch=0)).synthesize(_crops(1), _mels(1))


@pytest.mark.parametrize(
    ("crops", "mels"),
    [
        (np.zeros((2, SIZE, SIZE, 3), np.float32), _mels(2)),
        (np.zeros((2, SIZE, 16, 3), np.uint8), _mels(2)),
        (np.zeros((SIZE, SIZE, 3), np.uint8), _mels(1)),
        (_crops(2), _mels(3)),
        (_crops(2), _mels(2)[:, :, :15]),
        (np.zeros((1, SIZE + 1, SIZE + 1, 3), np.uint8), _mels(1)),
    ],
)
def test_wrong_shapes_are_refused(crops: np.ndarray, mels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        _synthesizer(build_network(CONFIG)).synthesize(crops, mels)


def test_broken_sound_still_gives_a_face() -> None:
    mels = mel_windows(np.full(8000, np.nan, np.float32), np.array([0.1, 0.2]), AROUND_FRAME)
    silence = mel_windows(np.zeros(8000, np.float32), np.array([0.1, 0.2]), AROUND_FRAME)
    synthesizer = _synthesizer(build_network(CONFIG))
    np.testing.assert_array_equal(synthesizer.synthesize(_crops(2), mels), synthesizer.synthesize(_crops(2), silence))


def test_loads_from_a_file_in_both_precisions(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save_checkpoint(path, build_network(CONFIG), CONFIG, dtype=torch.float32)
    exact, rough = (load_synthesizer(path, "cpu", precision, batch_size=2) for precision in ("fp32", "bf16"))
    assert (exact.config, exact.device_name, rough.precision) == (CONFIG, "cpu", "bf16")
    difference = exact.synthesize(_crops(3), _mels(3)).astype(int) - rough.synthesize(_crops(3), _mels(3))
    assert np.abs(difference).mean() < 4


def test_published_weights_draw(tmp_path: Path) -> None:
    path = tmp_path / "wav2lip.pth"
    torch.save({"state_dict": build_network(PUBLISHED_WAV2LIP).state_dict()}, path)
    drawn = load_synthesizer(path, "cpu", "fp32", 1).synthesize(np.zeros((1, 96, 96, 3), np.uint8), _mels(1)[..., :16])
    assert drawn.shape == (1, 96, 96, 3)


def test_detail_of_large_crops_is_kept() -> None:
    """An untrained network with a closed mask returns a large crop as sharp as it was."""
    network = build_network(CONFIG)
    assert isinstance(network, Generator)
    torch.nn.init.zeros_(network.displace.fields)
    assert network.head.bias is not None
    torch.nn.init.constant_(network.head.bias, -40.0)
    crops = np.random.default_rng(6).integers(0, 256, (3, 3 * SIZE, 3 * SIZE, 3), dtype=np.uint8)
    drawn = _synthesizer(network).synthesize(crops, _mels(3))
    assert np.abs(drawn.astype(int) - crops).max() <= 1


def test_published_networks_take_their_own_size_only() -> None:
    synthesizer = _synthesizer(build_network(PUBLISHED_WAV2LIP), 1, PUBLISHED_WAV2LIP)
    with pytest.raises(ValueError, match="takes crops of 96 px, not 192"):
        synthesizer.synthesize(np.zeros((1, 192, 192, 3), np.uint8), _mels(1)[..., :16])


@pytest.mark.parametrize("device", ["tpu", "cpu:1", "cuda:x", "cuda:99", ""])
def test_absent_devices_are_refused(device: str) -> None:
    with pytest.raises(ValueError, match="device"):
        choose_device(device)


@pytest.mark.parametrize("precision", ["fp16", "int8", ""])
def test_impossible_precisions_are_refused(precision: str) -> None:
    with pytest.raises(ValueError, match=r"fp16|precision"):
        choose_precision(precision, "cpu")


def test_auto_chooses_something_this_machine_can_do() -> None:
    device = choose_device("auto")
    assert choose_precision("auto", device) in ("fp32", "bf16")


STRANGE_SOUNDS = {
    "silence": np.zeros(8000, np.float32),
    "nothing": np.zeros(0, np.float32),
    "one sample": np.ones(1, np.float32),
    "not a number": np.full(8000, np.nan, np.float32),
    "infinite": np.full(8000, np.inf, np.float32),
    "far too loud": np.random.default_rng(1).normal(0, 1e6, 8000).astype(np.float32),
    "clipped": np.sign(np.random.default_rng(2).normal(0, 1, 8000)).astype(np.float32),
    "constant": np.full(8000, 32767, np.int16),
    "denormal": np.full(8000, 1e-40, np.float32),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", STRANGE_SOUNDS)
def test_strange_sound_gives_finite_pixels(name: str, precision: str) -> None:
    drawn: list[Drawing] = []
    network = build_network(CONFIG).eval()
    network.register_forward_hook(lambda _module, _inputs, output: drawn.append(output))
    mels = mel_windows(STRANGE_SOUNDS[name], np.arange(5) / 10, CONFIG.mel_window)
    assert np.isfinite(mels).all() and np.abs(mels).max() <= 4
    faces = _synthesizer(network, precision=precision).synthesize(_crops(5), mels)
    assert faces.shape == (5, SIZE, SIZE, 3) and len(drawn) == 2
    for drawing in drawn:
        assert bool(torch.isfinite(drawing.offsets).all())
        for part in (drawing.colours, drawing.mask):
            assert bool(torch.isfinite(part).all()) and 0 <= float(part.min()) <= float(part.max()) <= 1


def test_default_weights_draw_finite_pixels_for_any_sound() -> None:
    synthesizer = load_synthesizer(None, "cpu", "fp32", batch_size=4)
    size = synthesizer.config.image_size
    crops = np.random.default_rng(3).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    heard = [synthesizer.reader.read(sound).windows(np.array([0.1, 0.3])) for sound in STRANGE_SOUNDS.values()]
    drawn = [synthesizer.synthesize(crops, sound) for sound in heard]
    assert all(faces.std() > 0 for faces in drawn)
    np.testing.assert_array_equal(drawn[0], drawn[3])  # NaN counts as silence


class OpenMouth(nn.Module):
    """Network that opens every mouth wide and paints it black."""

    def forward(self, faces: Tensor, mels: Tensor) -> Drawing:
        count, mask = len(faces), torch.zeros(len(faces), 1, SIZE, SIZE)
        mask[:, :, 16:28, 8:24] = 1
        return Drawing(torch.zeros(count, 2, SIZE // 2, SIZE // 2), torch.zeros(count, 3, SIZE, SIZE), mask)


def test_each_crop_gets_its_own_interior() -> None:
    def interior(level: int) -> Interior:
        pixels = np.full((SIZE * 2, SIZE * 2, 4), (level, level, level, 255), np.uint8)
        return Interior(Layer(pixels, 0, 0), Layer(pixels, 0, 0), (SIZE, SIZE * 1.5), (0.0, 0.0, 0.0))

    crops = np.full((5, SIZE * 2, SIZE * 2, 3), 128, np.uint8)
    interiors = [interior(60), None, interior(120), interior(180), None]
    drawn = _synthesizer(OpenMouth(), batch_size=2).synthesize(crops, _mels(5), crops, interiors)
    middle = drawn[:, round(SIZE * 1.5), SIZE, 0]
    np.testing.assert_allclose(middle, [60, 0, 120, 180, 0], atol=2)
    assert (drawn[:, : SIZE // 2] == 128).all()


def test_only_the_wanted_part_of_a_crop_is_drawn() -> None:
    crops = np.random.default_rng(2).integers(1, 256, (3, SIZE * 2, SIZE * 2, 3), dtype=np.uint8)
    part = Part(SIZE // 4, SIZE, 4, SIZE - 4, 2)
    synthesizer = _synthesizer(OpenMouth(), batch_size=2)
    whole, drawn = (synthesizer.synthesize(crops, _mels(3), crops, parts=parts) for parts in (None, [part, None, part]))
    wanted = whole.copy()
    outside = np.ones((SIZE * 2, SIZE * 2), bool)
    outside[part.large] = False
    wanted[::2, outside] = 0
    np.testing.assert_array_equal(drawn, wanted)


def test_below_the_first_hidden_row_crops_may_hold_anything() -> None:
    whole = np.random.default_rng(2).integers(0, 256, (3, SIZE * 2, SIZE * 2, 3), dtype=np.uint8)
    filmed, references = FilmedCrops.of(whole, SIZE), np.ascontiguousarray(whole[::-1])
    pixels = whole.copy()
    pixels[:, round(SIZE * 2 * CONFIG.framing.hidden_from) :] = 0
    synthesizer = _synthesizer(build_network(CONFIG), batch_size=2)
    drawn = synthesizer.synthesize(whole, _mels(3), references)
    crops = FilmedCrops(filmed.seen, pixels)
    np.testing.assert_array_equal(synthesizer.synthesize(crops, _mels(3), references), drawn)
    pixels[:, 0] = 0
    assert (synthesizer.synthesize(crops, _mels(3), references) != drawn).any()
