import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.audio import MelWindow
from model.checkpoint import (
    EXPERT_FORMAT,
    FORMAT,
    build_network,
    load_expert,
    load_network,
    read_checkpoint,
    save_checkpoint,
    save_expert,
    verify_checkpoint,
)
from model.checkpoint_config import PUBLISHED_WAV2LIP, CheckpointConfig
from model.errors import CheckpointError
from model.framing import Framing
from model.network.sync_expert import SyncExpert, SyncExpertConfig
from model.network.wav2lip import Wav2Lip

SMALL = CheckpointConfig(
    image_size=32, width=0.25, framing=Framing(1.5, 0.4), mel_window=MelWindow(32, -7), notes="a test"
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    save_checkpoint(path, build_network(SMALL), SMALL)
    return path


def _rewrite(path: Path, **changes: torch.Tensor | None) -> None:
    state = load_file(path) | {name: tensor for name, tensor in changes.items() if tensor is not None}
    state = {name: tensor for name, tensor in state.items() if changes.get(name, tensor) is not None}
    save_file(state, path, {"format": FORMAT, "config": SMALL.to_json()})


def test_a_saved_checkpoint_is_read_unchanged(tmp_path: Path) -> None:
    network = build_network(SMALL)
    path = tmp_path / "new" / "folder.safetensors"
    save_checkpoint(path, network, SMALL, dtype=torch.float32)
    assert verify_checkpoint(path) == SMALL
    config, loaded = load_network(path)
    assert config == SMALL
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_half_precision_halves_the_file(tmp_path: Path, saved: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_checkpoint(whole, build_network(SMALL), SMALL, dtype=torch.float32)
    assert saved.stat().st_size < 0.6 * whole.stat().st_size
    assert load_network(saved)[0] == SMALL


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"head.bias": None}, "head.bias is missing"),
        ({"aaa": torch.zeros(1)}, "aaa does not belong to lpips_attnwav2lip"),
        ({"head.bias": torch.zeros(5)}, r"head.bias has shape \(5,\), not \(4,\)"),
    ],
)
def test_the_first_difference_is_named(saved: Path, changes: dict[str, torch.Tensor | None], sentence: str) -> None:
    _rewrite(saved, **changes)
    for read in (verify_checkpoint, read_checkpoint):
        with pytest.raises(CheckpointError, match=sentence):
            read(saved)


@pytest.mark.parametrize(
    ("bias", "sentence"),
    [
        (torch.tensor([0.0, float("nan"), 0.0, 0.0]), "holds values that are not finite"),
        (torch.zeros(4).to(torch.float8_e4m3fn), "is stored as torch.float8_e4m3fn"),
        (torch.zeros(4, dtype=torch.complex64), "is stored as torch.complex64"),
    ],
)
def test_values_must_be_finite_and_of_a_known_kind(saved: Path, bias: torch.Tensor, sentence: str) -> None:
    _rewrite(saved, **{"head.bias": bias})
    with pytest.raises(CheckpointError, match=rf"head\.bias {sentence}"):
        read_checkpoint(saved)


@pytest.mark.parametrize(
    ("config", "value", "sentence"),
    [
        ({"image_size": 32, "width": 0.25}, float("nan"), "log_scale holds values that are not finite"),
        ({"image_size": 7, "width": 0.25}, 1.0, "does not hold what a lipsync-expert/1 file should"),
        ({"image_size": 32, "width": -1}, 1.0, "does not hold"),
        ({"image_size": 32, "width": "wide"}, 1.0, "does not hold"),
        ({"image_size": 10**6, "width": 0.25}, 1.0, "does not hold"),
    ],
)
def test_an_expert_with_wrong_values_is_refused(
    tmp_path: Path, config: dict[str, object], value: float, sentence: str
) -> None:
    path = tmp_path / "expert.safetensors"
    save_expert(path, SyncExpert(SyncExpertConfig(32, 0.25)))
    assert load_expert(path).config == SyncExpertConfig(32, 0.25)
    state = load_file(path) | {"log_scale": torch.tensor(value)}
    save_file(state, path, {"format": EXPERT_FORMAT, "config": json.dumps(config)})
    with pytest.raises(CheckpointError, match=rf"expert\.safetensors.* {sentence}"):
        load_expert(path)


def _changed(**values: object) -> str:
    """Return the config as JSON with other values."""
    return json.dumps(json.loads(SMALL.to_json()) | values)


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        (None, "is not a lipsync-checkpoint/1 file"),
        ({"format": "pt"}, "its format is 'pt'"),
        ({"format": FORMAT, "config": "{"}, "its config cannot be read"),
        ({"format": FORMAT, "config": "{}"}, "its config cannot be read"),
        ({"format": FORMAT}, "its config cannot be read"),
        ({"format": FORMAT, "config": _changed(image_size=90)}, "image_size must be a multiple of 16 from 32 to 1024"),
        (
            {"format": FORMAT, "config": SMALL.to_json().replace("rgb", "xyz")},
            "channel_order must be rgb or bgr, not 'xyz'",
        ),
        (
            {"format": FORMAT, "config": _changed(image_size="32")},
            "image_size must be a multiple of 16 from .*, not '32'",
        ),
        ({"format": FORMAT, "config": _changed(image_size=1e7)}, "image_size must be a multiple of 16 from 32 to 1024"),
        ({"format": FORMAT, "config": _changed(picture_size=32)}, "picture_size is not known"),
        ({"format": FORMAT, "config": _changed(use_ffc=1)}, "use_ffc must be true or false, not 1"),
        ({"format": FORMAT, "config": _changed(framing=3)}, r"\[framing\] must be a table, not 3"),
        ({"format": FORMAT, "config": "[]"}, "its config cannot be read"),
        ({"format": FORMAT, "config": _changed(mel_window={"columns": 0})}, "mel_window.columns must be"),
        ({"format": FORMAT, "config": _changed(mel_window={"columns": 10**9})}, "mel_window.columns must be"),
        ({"format": FORMAT, "config": _changed(mel_window={"columns": 16})}, "must be 32 for lpips_attnwav2lip"),
        ({"format": FORMAT, "config": _changed(mel_window={"columns": 160})}, "mel_window.columns must be 32"),
        (
            {"format": FORMAT, "config": _changed(mel_window={"columns": 32.0})},
            "mel_window.columns must be a whole number",
        ),
        (
            {"format": FORMAT, "config": _changed(mel_window={"columns": 32, "offset_columns": 161})},
            "mel_window.offset_columns must be from -160 to 160, not 161",
        ),
        (
            {"format": FORMAT, "config": _changed(architecture="wav2lip", image_size=96)},
            "mel_window.columns must be 16 for wav2lip, not 32",
        ),
        ({"format": FORMAT, "config": _changed(width="wide")}, "width must be a finite number from 0.25 to 8"),
        (
            {"format": FORMAT, "config": _changed(width=float("nan"))},
            "width must be a finite number .*, not nan",
        ),
        ({"format": FORMAT, "config": _changed(framing={"side": None, "center_y": 0.4})}, "its config cannot be read"),
        ({"format": FORMAT, "config": _changed(architecture="wav2lip")}, "draws 96 px, not 32"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, metadata: dict[str, str] | None, sentence: str) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(2, 2)}, path, metadata)
    for read in (verify_checkpoint, read_checkpoint):
        with pytest.raises(CheckpointError, match=sentence):
            read(path)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not a checkpoint at all", None])
def test_damaged_and_missing_files_are_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for read in (verify_checkpoint, read_checkpoint):
        with pytest.raises(CheckpointError, match=r"x\."):
            read(tmp_path / name)


def test_published_files_are_read(tmp_path: Path) -> None:
    network = Wav2Lip()
    wrapped = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    path = tmp_path / "wav2lip.pth"
    torch.save({"state_dict": wrapped, "optimizer": {"lr": 1e-4}, "global_step": 7}, path)
    assert verify_checkpoint(path) == PUBLISHED_WAV2LIP
    config, loaded = load_network(path)
    assert (config.channel_order, config.mel_window.offset_columns) == ("bgr", 0)
    torch.testing.assert_close(loaded.state_dict(), network.state_dict())


class Payload:
    """Object that a safe reader must not rebuild."""


def test_a_field_that_an_older_file_lacks_has_its_default() -> None:
    kept = ("image_size", "framing", "mel_window")
    older = {name: value for name, value in json.loads(SMALL.to_json()).items() if name in kept}
    assert CheckpointConfig.from_json(json.dumps(older)) == replace(SMALL, width=1.0, notes="")
    for name in kept[1:]:
        with pytest.raises(ValueError, match=f"{name} is missing"):
            CheckpointConfig.from_json(json.dumps({key: value for key, value in older.items() if key != name}))


def test_replaced_values_are_checked() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        replace(SMALL, image_size=90)


def test_code_in_a_published_file_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"module.x": Payload()}}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="not a file of plain weights"):
        read_checkpoint(tmp_path / "bad.pth")
