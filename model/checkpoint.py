"""Checkpoints: weights together with everything needed to use them.

One `.safetensors` file holds the weights and, as metadata, the format's name and the config as JSON; it cannot carry
code. Published Wav2Lip `.pth` files are read too, with weights_only=True. Loading is strict: the first parameter whose
name or shape differs is named.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.audio import AROUND_FRAME, STARTING_AT_FRAME, MelWindow
from model.errors import CheckpointError
from model.framing import FOREHEAD_TO_CHIN, LOWER_FACE, Framing
from model.network.generator import Generator, GeneratorConfig
from model.network.hearing import Hearing, HearingConfig
from model.network.sync_expert import SyncExpert, SyncExpertConfig
from model.network.wav2lip import IMAGE_SIZE as WAV2LIP_IMAGE_SIZE
from model.network.wav2lip import Wav2Lip

FORMAT = "lipsync-checkpoint/1"
EXPERT_FORMAT = "lipsync-expert/1"
HEARING_FORMAT = "lipsync-hearing/1"
# What the restricted reader raises depends on where in a strange file it stumbles.
_UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, EOFError, OSError),
    *(RuntimeError, ValueError, TypeError, LookupError, AttributeError),
)
_SIZES_PX, _MOST_OFFSET_COLUMNS = (16, 1024), 160  # what a file may ask for; 160 columns are two seconds
_COLUMNS = {"lpips_attnwav2lip": AROUND_FRAME.columns, "wav2lip": STARTING_AT_FRAME.columns}  # what a network hears
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64)
Shapes = Mapping[str, tuple[int, ...]]
_Part = TypeVar("_Part", bound=nn.Module)


@dataclass(frozen=True)
class CheckpointConfig:
    """Say what a checkpoint holds and how crops and sound must be cut for it.

    image_size in pixels; the ablation flags and the width only matter to lpips_attnwav2lip; notes are for people.
    """

    architecture: Literal["lpips_attnwav2lip", "wav2lip"] = "lpips_attnwav2lip"
    image_size: int = 96
    width: float = 1.0
    use_cbam: bool = True
    use_ffc: bool = True
    use_adain: bool = True
    framing: Framing = field(default_factory=lambda: LOWER_FACE)
    mel_window: MelWindow = field(default_factory=lambda: AROUND_FRAME)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    notes: str = ""

    def __post_init__(self) -> None:
        if self.architecture not in ("lpips_attnwav2lip", "wav2lip"):
            raise ValueError(f"the architecture {self.architecture!r} is not known")
        if self.channel_order not in ("rgb", "bgr"):
            raise ValueError(f"the channel order {self.channel_order!r} is not known")
        window, columns = self.mel_window, _COLUMNS[self.architecture]
        for name, value, (low, high) in (
            ("image_size", self.image_size, _SIZES_PX),
            ("mel_window.offset_columns", window.offset_columns, (-_MOST_OFFSET_COLUMNS, _MOST_OFFSET_COLUMNS)),
        ):
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
        if self.architecture == "wav2lip" and self.image_size != WAV2LIP_IMAGE_SIZE:
            raise ValueError(f"wav2lip draws {WAV2LIP_IMAGE_SIZE} px, not {self.image_size}")
        if type(window.columns) is not int or window.columns != columns:
            raise ValueError(f"mel_window.columns must be {columns} for {self.architecture}, not {window.columns!r}")
        flags = (self.use_cbam, self.use_ffc, self.use_adain)
        if type(self.width) not in (int, float) or not all(type(flag) is bool for flag in flags):
            raise ValueError("width must be a number and the flags true or false")

    @property
    def keeps_detail(self) -> bool:
        """Say whether crops may be larger than the network and keep their detail."""
        return self.architecture == "lpips_attnwav2lip"

    def to_json(self) -> str:
        """Return the config as one JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CheckpointConfig:
        """Read what `to_json` wrote. Raises ValueError, TypeError or KeyError where it is something else."""
        values: dict[str, Any] = json.loads(text)
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"{min(unknown)!r} is not a field of the config")
        framing, window = Framing(**values.pop("framing")), MelWindow(**values.pop("mel_window"))
        return cls(**values, framing=framing, mel_window=window)


PUBLISHED_WAV2LIP = CheckpointConfig(
    architecture="wav2lip",
    image_size=WAV2LIP_IMAGE_SIZE,
    framing=FOREHEAD_TO_CHIN,
    mel_window=STARTING_AT_FRAME,
    channel_order="bgr",
)


def default_checkpoint() -> Path:
    """Return the path of the weights that come with the package."""
    return Path(__file__).parent / "weights" / "lpips_attnwav2lip.safetensors"


def build_network(config: CheckpointConfig) -> nn.Module:
    """Build the network a config describes, with fresh weights, on torch's default device."""
    if config.architecture == "wav2lip":
        return Wav2Lip()
    shape = GeneratorConfig(config.image_size, config.width, config.use_cbam, config.use_ffc, config.use_adain)
    return Generator(shape)


def save_checkpoint(
    path: Path, network: nn.Module, config: CheckpointConfig, *, dtype: torch.dtype = torch.bfloat16
) -> None:
    """Write the network's weights and config; a reader sees the old file or the new one, never half of it.

    Matrices are stored in `dtype`, vectors (norms, biases) as they are.
    """
    _save_state(path, network, {"format": FORMAT, "config": config.to_json()}, dtype)


def read_checkpoint(path: Path) -> tuple[CheckpointConfig, dict[str, Tensor]]:
    """Read config and weights to the CPU, checked against the network they are for.

    Raises CheckpointError for a missing, damaged, foreign or mismatching file, and for weights that are not finite.
    """
    config, state = _read_pth(path, "cpu") if _is_pth(path) else _read_safetensors(path)
    _compare({name: tuple(tensor.shape) for name, tensor in state.items()}, config, path)
    _check_values(state, path)
    return config, state


def verify_checkpoint(path: Path) -> CheckpointConfig:
    """Compare the names and shapes in a file with its network without loading weights; touches no GPU.

    Returns the config. Raises CheckpointError as `read_checkpoint`, except for values.
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
    try:
        return CheckpointConfig.from_json(metadata["config"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path.name}: its config cannot be read ({error})") from error


def _read_pth(path: Path, device: str) -> tuple[CheckpointConfig, dict[str, Tensor]]:
    wrapped = load_plain(path, device)
    state = wrapped.get("state_dict", wrapped) if isinstance(wrapped, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path.name} holds no table of weights")
    return PUBLISHED_WAV2LIP, {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def load_plain(path: Path, device: str = "cpu") -> Any:
    """Read what torch.save wrote, as long as it is tensors and plain values. Raises CheckpointError for all else."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except _UNREADABLE as error:
        raise CheckpointError(f"{path.name} is not a file of plain weights") from error


def _compare(found: Shapes, config: CheckpointConfig, path: Path) -> None:
    try:
        with torch.device("meta"):
            network = build_network(config)
    except ValueError as error:
        raise CheckpointError(f"{path.name}: {error}") from error
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
    """Write a sync expert, its config beside its weights."""
    _save_part(path, expert, EXPERT_FORMAT, asdict(expert.config))


def load_expert(path: Path) -> SyncExpert:
    """Read a sync expert to the CPU in eval mode. Raises CheckpointError."""
    return _load_part(path, EXPERT_FORMAT, lambda config: SyncExpert(SyncExpertConfig(**config)))


def save_hearing(path: Path, hearing: Hearing) -> None:
    """Write a hearing, its config beside its weights."""
    _save_part(path, hearing, HEARING_FORMAT, asdict(hearing.config))


def load_hearing(path: Path) -> Hearing:
    """Read a hearing to the CPU in eval mode. Raises CheckpointError."""
    return _load_part(path, HEARING_FORMAT, lambda config: Hearing(HearingConfig(**config)))


def _save_part(path: Path, part: nn.Module, kind: str, config: Mapping[str, Any]) -> None:
    _save_state(path, part, {"format": kind, "config": json.dumps(config)}, torch.bfloat16)


def _save_state(path: Path, network: nn.Module, metadata: dict[str, str], dtype: torch.dtype) -> None:
    """Write weights; a reader sees the old file or the new one. Matrices are stored in `dtype`, vectors as they are."""
    state = {
        name: (tensor.to(dtype) if tensor.ndim > 1 else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    save_file(state, partial, metadata=metadata)
    partial.chmod(0o644)  # safetensors writes for the owner alone; a service may run as somebody else
    partial.replace(path)


def _load_part(path: Path, kind: str, build: Callable[[dict[str, Any]], _Part]) -> _Part:
    if not path.is_file():
        raise CheckpointError(f"there is no {path.name} at {path.parent}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") != kind:
            raise CheckpointError(f"{path.name} is not a {kind} file")
        _check_values(state, path)
        part = build(json.loads(metadata["config"]))
        part.load_state_dict(state, strict=True)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path.name} does not hold what a {kind} file should") from error
    part.eval()
    return part
