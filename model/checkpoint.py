"""Checkpoints: weights together with everything needed to use them.

One `.safetensors` file holds the weights and, as metadata, the format's name and the config as JSON; such a file cannot
carry code. Published Wav2Lip `.pth` files are read too, with weights_only=True. Loading is strict: the error names the
first parameter whose name or shape differs.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.checkpoint_config import PUBLISHED_WAV2LIP, CheckpointConfig
from model.errors import CheckpointError
from model.files import replacing
from model.network.generator import Generator, GeneratorConfig
from model.network.hearing import Hearing, HearingConfig
from model.network.sync_expert import SyncExpert, SyncExpertConfig
from model.network.wav2lip import Wav2Lip
from model.typed_config import config_from

FORMAT = "lipsync-checkpoint/1"
EXPERT_FORMAT = "lipsync-expert/1"
HEARING_FORMAT = "lipsync-hearing/1"
# The error that torch's restricted reader raises depends on the byte at which it gives up on an untrusted file.
_UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, EOFError, OSError),
    *(RuntimeError, ValueError, TypeError, LookupError, AttributeError),
)
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64)
Shapes = Mapping[str, tuple[int, ...]]
_Part = TypeVar("_Part", bound=nn.Module)
_PartConfig = TypeVar("_PartConfig")


def build_network(config: CheckpointConfig) -> nn.Module:
    """Build the network that a config describes, with fresh weights, on torch's default device."""
    if config.architecture == "wav2lip":
        return Wav2Lip()
    flags = config.use_cbam, config.use_ffc, config.use_adain
    return Generator(GeneratorConfig(config.image_size, config.width, *flags, config.speech_encoder))


def save_checkpoint(
    path: Path, network: nn.Module, config: CheckpointConfig, *, dtype: torch.dtype = torch.bfloat16
) -> None:
    """Write the network's weights and config; a reader finds the old file or the new one, never a part of it.

    Matrices are stored in `dtype`, vectors (norms, biases) in their own.
    """
    _save_state(path, network, {"format": FORMAT, "config": config.to_json()}, dtype)


def read_checkpoint(path: Path) -> tuple[CheckpointConfig, dict[str, Tensor]]:
    """Read config and weights to the CPU, and compare the weights with the network that the config describes.

    Raises CheckpointError if the file is missing, damaged, of another format, or of another shape than the network, and
    if a weight is not finite.
    """
    config, state = _read_pth(path, "cpu") if _is_pth(path) else _read_safetensors(path)
    _compare({name: tuple(tensor.shape) for name, tensor in state.items()}, config, path)
    _check_values(state, path)
    return config, state


def verify_checkpoint(path: Path) -> CheckpointConfig:
    """Compare the names and shapes in a file with its network, without loading weights and without a GPU.

    Returns the config. Raises CheckpointError as `read_checkpoint` does, except for the values of weights.
    """
    if _is_pth(path):
        config, state = _read_pth(path, "meta")
        shapes: Shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    else:
        config, shapes = _read_header(path)
    _compare(shapes, config, path)
    return config


def load_network(path: Path) -> tuple[CheckpointConfig, nn.Module]:
    """Build a checkpoint's network on the CPU in float32 and eval mode. Raises CheckpointError."""
    config, state = read_checkpoint(path)
    network = build_network(config)
    network.load_state_dict(state, strict=True)
    return config, network.eval()


def _is_pth(path: Path) -> bool:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path.name} at {path.parent}")
    return path.suffix in (".pth", ".pt")


def _read_header(path: Path) -> tuple[CheckpointConfig, Shapes]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is not a readable safetensors file") from error
    return _config(metadata, path), shapes


def _read_safetensors(path: Path) -> tuple[CheckpointConfig, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is not a readable safetensors file") from error
    return _config(metadata, path), state


def _config(metadata: Mapping[str, str], path: Path) -> CheckpointConfig:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path.name} is not a {FORMAT} file (its format is {metadata.get('format')!r})")
    if "config" not in metadata:
        raise CheckpointError(f"{path.name}: its config cannot be read (the file has none)")
    try:
        return CheckpointConfig.from_json(metadata["config"])
    except ValueError as error:
        raise CheckpointError(f"{path.name}: its config cannot be read ({error})") from error


def _read_pth(path: Path, device: str) -> tuple[CheckpointConfig, dict[str, Tensor]]:
    wrapped = load_plain(path, device)
    state = wrapped.get("state_dict", wrapped) if isinstance(wrapped, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path.name} holds no table of weights")
    return PUBLISHED_WAV2LIP, {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def load_plain(path: Path, device: str = "cpu") -> object:
    """Read a file that torch.save wrote, of tensors and plain values only. Raises CheckpointError for any other."""
    try:
        content: object = torch.load(path, map_location=device, weights_only=True)
        return content
    except _UNREADABLE as error:
        raise CheckpointError(f"{path.name} is not a file of plain weights") from error


def _compare(found: Shapes, config: CheckpointConfig, path: Path) -> None:
    with torch.device("meta"):
        network = build_network(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise CheckpointError(f"{path.name}: {name} is missing")
        if name not in wanted:
            raise CheckpointError(f"{path.name}: {name} does not belong to {config.architecture}")
        if found[name] != wanted[name]:
            raise CheckpointError(f"{path.name}: {name} has shape {found[name]}, not {wanted[name]}")


def _check_values(state: Mapping[str, Tensor], path: Path) -> None:
    for name in sorted(state):
        if state[name].dtype not in _DTYPES:
            raise CheckpointError(f"{path.name}: {name} is stored as {state[name].dtype}, which is not read")
        if not bool(torch.isfinite(state[name]).all()):
            raise CheckpointError(f"{path.name}: {name} holds values that are not finite")


def save_expert(path: Path, expert: SyncExpert) -> None:
    """Write a sync expert's weights and config."""
    _save_part(path, expert, EXPERT_FORMAT, asdict(expert.config))


def load_expert(path: Path) -> SyncExpert:
    """Read a sync expert to the CPU in eval mode. Raises CheckpointError."""
    return _load_part(path, EXPERT_FORMAT, SyncExpertConfig, SyncExpert)


def save_hearing(path: Path, hearing: Hearing) -> None:
    """Write a hearing network's weights and config."""
    _save_part(path, hearing, HEARING_FORMAT, asdict(hearing.config))


def load_hearing(path: Path) -> Hearing:
    """Read a hearing network to the CPU in eval mode. Raises CheckpointError."""
    return _load_part(path, HEARING_FORMAT, HearingConfig, Hearing)


def _save_part(path: Path, part: nn.Module, kind: str, config: Mapping[str, object]) -> None:
    _save_state(path, part, {"format": kind, "config": json.dumps(config)}, torch.bfloat16)


def _save_state(path: Path, network: nn.Module, metadata: dict[str, str], dtype: torch.dtype) -> None:
    """Write weights and metadata in one step. Matrices are stored in `dtype`, vectors in their own."""
    state = {
        name: (tensor.to(dtype) if tensor.ndim > 1 else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    with replacing(path) as partial:
        save_file(state, partial, metadata=metadata)
        partial.chmod(0o644)  # safetensors lets only the owner read; a service may run as another user


def _load_part(path: Path, kind: str, config_kind: type[_PartConfig], build: Callable[[_PartConfig], _Part]) -> _Part:
    if not path.is_file():
        raise CheckpointError(f"there is no {path.name} at {path.parent}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") != kind:
            raise CheckpointError(f"{path.name} is not a {kind} file")
        _check_values(state, path)
        part = build(config_from(config_kind, json.loads(metadata["config"])))
        part.load_state_dict(state, strict=True)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path.name} does not hold what a {kind} file should") from error
    part.eval()
    return part
