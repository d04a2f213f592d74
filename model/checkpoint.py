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
from dataclasses import asdict, field
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import model_validator
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.audio import AROUND_FRAME, MEL_BANDS, STARTING_AT_FRAME, MelWindow
from model.errors import CheckpointError
from model.files import replacing
from model.framing import FOREHEAD_TO_CHIN, LOWER_FACE, Framing
from model.network.generator import Generator, GeneratorConfig
from model.network.hearing import Hearing, HearingConfig
from model.network.sync_expert import SyncExpert, SyncExpertConfig
from model.network.wav2lip import IMAGE_SIZE as WAV2LIP_IMAGE_SIZE
from model.network.wav2lip import Wav2Lip
from model.speech_encoder.port import FEATURES, WINDOW_STEPS
from model.typed_config import STRICT, ImageSize, Width, config_from

FORMAT = "lipsync-checkpoint/1"
EXPERT_FORMAT = "lipsync-expert/1"
HEARING_FORMAT = "lipsync-hearing/1"
# The error that torch's restricted reader raises depends on the byte at which it gives up on an untrusted file.
_UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, EOFError, OSError),
    *(RuntimeError, ValueError, TypeError, LookupError, AttributeError),
)
_COLUMNS = {"lpips_attnwav2lip": AROUND_FRAME.columns, "wav2lip": STARTING_AT_FRAME.columns}  # width of the mel input
_MOST_OFFSET_COLUMNS = 160  # two seconds
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64)
Architecture = Literal["lpips_attnwav2lip", "wav2lip"]
Shapes = Mapping[str, tuple[int, ...]]
_Part = TypeVar("_Part", bound=nn.Module)
_PartConfig = TypeVar("_PartConfig")


@dataclass(frozen=True, config=STRICT)
class CheckpointConfig:
    """Architecture of a checkpoint's network, and how crops and sound must be cut for it.

    image_size in pixels. The ablation flags and the width only matter to lpips_attnwav2lip; notes are for people.
    speech_encoder: name of the pretrained encoder whose features the network hears; "": it hears mels, cut as
    mel_window says.
    Raises pydantic's ValidationError, a ValueError, for a value out of range.
    """

    architecture: Architecture = "lpips_attnwav2lip"
    image_size: ImageSize = 96
    width: Width = 1.0
    use_cbam: bool = True
    use_ffc: bool = True
    use_adain: bool = True
    framing: Framing = field(default_factory=lambda: LOWER_FACE)
    mel_window: MelWindow = field(default_factory=lambda: AROUND_FRAME)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    speech_encoder: str = ""
    notes: str = ""

    @model_validator(mode="after")
    def _check_together(self) -> CheckpointConfig:
        """Raise ValueError if size or mel window do not fit the architecture."""
        if self.architecture == "wav2lip" and self.image_size != WAV2LIP_IMAGE_SIZE:
            raise ValueError(f"wav2lip draws {WAV2LIP_IMAGE_SIZE} px, not {self.image_size}")
        if self.architecture == "wav2lip" and self.speech_encoder:
            raise ValueError("wav2lip hears mels, not a speech encoder")
        window, columns = self.mel_window, _COLUMNS[self.architecture]
        if window.columns != columns:
            raise ValueError(f"mel_window.columns must be {columns} for {self.architecture}, not {window.columns}")
        if abs(window.offset_columns) > _MOST_OFFSET_COLUMNS:
            allowed = f"from {-_MOST_OFFSET_COLUMNS} to {_MOST_OFFSET_COLUMNS}"
            raise ValueError(f"mel_window.offset_columns must be {allowed}, not {window.offset_columns}")
        return self

    @property
    def sound_shape(self) -> tuple[int, int]:
        """Return rows and columns of the sound of one frame."""
        return (WINDOW_STEPS, FEATURES) if self.speech_encoder else (MEL_BANDS, self.mel_window.columns)

    @property
    def keeps_detail(self) -> bool:
        """Return whether crops may be larger than the network and keep their detail."""
        return self.architecture == "lpips_attnwav2lip"

    def to_json(self) -> str:
        """Return the config as one JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CheckpointConfig:
        """Read what `to_json` wrote; a field that an older file lacks has its default.

        Raises ValueError with one sentence for any other text. framing and mel_window must be there: with a wrong
        default the network would silently get the wrong part of the face or of the sound.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("it is not a table")
        for name in ("framing", "mel_window"):
            if name not in values:
                raise ValueError(f"{name} is missing")
        return config_from(cls, values)


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
