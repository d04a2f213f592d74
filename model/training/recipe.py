"""A training run as a TOML file: typed, complete, and refused where it says something unknown."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from model.audio import STARTING_AT_FRAME
from model.checkpoint import CheckpointConfig
from model.errors import RecipeError
from model.network.generator import GeneratorConfig
from model.network.sync_expert import SyncExpertConfig
from model.network.wav2lip import IMAGE_SIZE as WAV2LIP_IMAGE_SIZE
from model.training.clips import RUN

_MOST = sys.float_info.max  # any number, but not infinity
_RANGES = {
    "run.steps": (1, _MOST),
    "run.learning_rate": (1e-9, _MOST),
    "run.seed": (0, 2**32),
    "run.warmup_steps": (0, _MOST),
    "run.decay_from": (0, 1),
    "run.weight_decay": (0, 1),
    "run.ema_decay": (0, 1),
    "run.save_every": (1, _MOST),
    "run.validate_every": (1, _MOST),
    "run.threads": (0, 1024),
    "batch.runs": (0, _MOST),
    "batch.singles": (0, _MOST),
    "batch.others": (1, _MOST),
    "batch.known": (0, 1),
    "batch.clips": (1, _MOST),
    "batch.moments": (2, _MOST),  # a sound is told from that of another moment
    "batch.voices": (1, _MOST),
    "batch.voice_moments": (1, _MOST),
}


@dataclass(frozen=True)
class RunPart:
    """How long and how fast to train, and how often to look.

    With a time budget the learning rate follows the clock, otherwise the step: a linear warm-up, constant until
    `decay_from` of the run, then down to 2 %. ema_decay weighs the running average that is exported. precision: auto,
    fp32, bf16 or, on a GPU, fp16 with scaled gradients. compile matters on a GPU only.
    """

    objective: Literal["hearing", "expert", "generator"]
    steps: int
    learning_rate: float
    seed: int = 0
    warmup_steps: int = 100
    decay_from: float = 0.6
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    save_every: int = 200
    validate_every: int = 200
    threads: int = 0  # 0: as many as torch chooses
    device: str = "auto"
    precision: str = "auto"
    compile: bool = True


@dataclass(frozen=True)
class NetworkPart:
    """The shape of what is trained; the flags are the generator's ablations.

    architecture: what draws; of wav2lip, the baseline, the shape is fixed, and width and flags say nothing.
    """

    image_size: int = 96
    width: float = 1.0
    use_cbam: bool = True
    use_ffc: bool = True
    use_adain: bool = True
    architecture: Literal["lpips_attnwav2lip", "wav2lip"] = "lpips_attnwav2lip"


@dataclass(frozen=True)
class BatchPart:
    """What a step sees.

    The generator: runs of five frames and single frames, the share `known` of them drawn from the known articulation
    instead of from the one heard. The expert: moments of clips. Hearing: moments of voices.
    """

    runs: int = 2
    singles: int = 6
    others: int = 7
    known: float = 0.7
    clips: int = 8
    moments: int = 6
    voices: int = 12
    voice_moments: int = 12


@dataclass(frozen=True)
class LossPart:
    """The weight of each term of the generator's loss; 0 leaves a term out.

    behind is the mouth's error of the colours drawn behind the mask: without it the mask closes while the drawing is
    still poor, and nothing makes it better. flow is how far points of the mesh are from where the displacement should
    bring them, mask how far the mask is from the opening of the lips; both only where the clip knows its mesh. These
    three ask for a mask and a displacement, which wav2lip does not have. adversarial is what a critic that learns along
    says of the hidden part of the face.
    """

    l1: float = 1.0
    mouth: float = 1.0
    behind: float = 1.0
    edges: float = 0.0
    flow: float = 0.0
    mask: float = 0.0
    motion: float = 0.0
    sync: float = 0.0
    lpips: float = 0.0
    adversarial: float = 0.0


@dataclass(frozen=True)
class LpipsPart:
    """backbone: "random", or the file of AlexNet weights. There is no default: random weights must be asked for."""

    backbone: str = ""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run, apart from the clips and the expert."""

    run: RunPart
    network: NetworkPart = field(default_factory=NetworkPart)
    batch: BatchPart = field(default_factory=BatchPart)
    losses: LossPart = field(default_factory=LossPart)
    lpips: LpipsPart = field(default_factory=LpipsPart)

    def __post_init__(self) -> None:
        if self.run.objective not in ("hearing", "expert", "generator"):
            raise RecipeError(f"run.objective must be hearing, expert or generator, not {self.run.objective!r}")
        self._check_architecture()
        self._check_numbers()
        if self.run.precision not in ("auto", "fp32", "bf16", "fp16"):
            raise RecipeError(f"run.precision must be auto, fp32, bf16 or fp16, not {self.run.precision!r}")
        if self.run.objective == "generator" and self.losses.lpips and not self.lpips.backbone:
            raise RecipeError('losses.lpips needs lpips.backbone: the file of AlexNet weights, or "random"')
        if self.batch.runs == 0 and (self.losses.sync or self.losses.motion):
            raise RecipeError("losses.sync and losses.motion need batch.runs of at least 1")
        if self.batch.runs + self.batch.singles < 1:
            raise RecipeError("batch.runs and batch.singles leave nothing to draw")

    def _check_numbers(self) -> None:
        for part, values in (("run", self.run), ("batch", self.batch), ("losses", self.losses)):
            for name, value in vars(values).items():
                low, high = _RANGES.get(f"{part}.{name}", (0, _MOST))
                if isinstance(value, int | float) and not low <= value <= high:
                    limits = f"at least {low}, and finite" if high == _MOST else f"from {low} to {high}"
                    raise RecipeError(f"{part}.{name} must be {limits}, not {value!r}")
        try:
            self.checkpoint_config("")
            self.generator_config()
            SyncExpertConfig(self.network.image_size, self.network.width)
        except ValueError as error:
            raise RecipeError(f"network.{error}") from error

    def _check_architecture(self) -> None:
        if self.network.architecture not in ("lpips_attnwav2lip", "wav2lip"):
            raise RecipeError(
                f"network.architecture must be lpips_attnwav2lip or wav2lip, not {self.network.architecture!r}"
            )
        if self.network.architecture != "wav2lip":
            return
        if self.network.image_size != WAV2LIP_IMAGE_SIZE:
            raise RecipeError(f"network.architecture wav2lip draws {WAV2LIP_IMAGE_SIZE} px alone: network.image_size")
        if self.losses.behind or self.losses.flow or self.losses.mask:
            raise RecipeError("losses.behind, losses.flow and losses.mask must be 0 for wav2lip: it has no mask")

    @property
    def crops_per_step(self) -> int:
        """Return how many crops a step looks at, for a speed in crops a second."""
        part = self.batch
        return RUN * part.clips * part.moments if self.run.objective == "expert" else RUN * part.runs + part.singles

    def generator_config(self) -> GeneratorConfig:
        """Return the shape of the generator."""
        shape = self.network
        return GeneratorConfig(shape.image_size, shape.width, shape.use_cbam, shape.use_ffc, shape.use_adain)

    def checkpoint_config(self, notes: str) -> CheckpointConfig:
        """Return the config of the checkpoint of what draws."""
        shape = self.network
        if shape.architecture == "wav2lip":  # our crops and our hidden rows, its own sound
            return CheckpointConfig(architecture="wav2lip", mel_window=STARTING_AT_FRAME, notes=notes)
        return CheckpointConfig(
            image_size=shape.image_size,
            width=shape.width,
            use_cbam=shape.use_cbam,
            use_ffc=shape.use_ffc,
            use_adain=shape.use_adain,
            notes=notes,
        )


def shipped_recipe(name: str) -> Path:
    """Return the path of a recipe that comes with the package, by its name in model/configs."""
    return Path(__file__).parents[1] / "configs" / f"{name}.toml"


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises RecipeError for a missing file, broken TOML, unknown or wrongly typed names."""
    tables = read_tables(path)
    try:
        return recipe_of(tables)
    except RecipeError as error:
        raise RecipeError(f"{path.name}: {error}") from error


def read_tables(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises RecipeError for a missing file and for broken TOML."""
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path.name} cannot be read: {error}") from error


def recipe_of(tables: Mapping[str, Any]) -> Recipe:
    """Return the recipe that tables state. Raises RecipeError for unknown or wrongly typed names."""
    parts = {"run": RunPart, "network": NetworkPart, "batch": BatchPart, "losses": LossPart, "lpips": LpipsPart}
    unknown = sorted(tables.keys() - parts.keys())
    if unknown:
        raise RecipeError(f"[{unknown[0]}] is not a part of a recipe")
    return Recipe(**{name: _part(kind, name, tables.get(name, {})) for name, kind in parts.items()})


def _part(kind: type[Any], name: str, values: Any) -> Any:
    if not isinstance(values, dict):
        raise RecipeError(f"[{name}] must be a table, not {values!r}")
    known = {f.name: f for f in fields(kind)}
    for key, value in values.items():
        if key not in known:
            raise RecipeError(f"{name}.{key} is not known")
        declared = str(known[key].type)
        accepted: tuple[type, ...] = {"int": (int,), "float": (int, float), "bool": (bool,)}.get(declared, (str,))
        if not isinstance(value, accepted) or (isinstance(value, bool) and declared != "bool"):
            raise RecipeError(f"{name}.{key} must be {declared}, not {value!r}")
    try:
        return kind(**values)
    except TypeError as error:
        raise RecipeError(f"[{name}] is incomplete: {error}") from error
