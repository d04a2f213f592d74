"""Recipes: TOML files that describe a training run, with a type and a range for every value."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from model.audio import STARTING_AT_FRAME
from model.checkpoint_config import WAV2LIP_PX, Architecture, CheckpointConfig
from model.errors import RecipeError
from model.network.generator import GeneratorConfig
from model.training.clips import RUN
from model.training.perceptual import STAGES
from model.typed_config import STRICT, ImageSize, Width, config_from

Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=STRICT)
class RunPart:
    """Length, speed and precision of a run, and how often it is saved and validated.

    With a time budget the learning rate follows the clock, otherwise the step: a linear warm-up, constant until the
    share `decay_from` of the run, then linearly down to 2 %. ema_decay is the decay of the running average of the
    weights, which is what a run exports. precision: auto, fp32, bf16 or, on a GPU, fp16 with scaled gradients. compile
    has an effect on a GPU only.
    """

    objective: Literal["hearing", "expert", "generator"]
    steps: PositiveCount
    learning_rate: Annotated[float, Field(ge=1e-9)]
    seed: Annotated[int, Field(ge=0, le=2**32)] = 0
    warmup_steps: Count = 100
    decay_from: Share = 0.6
    weight_decay: Share = 0.01
    ema_decay: Share = 0.998
    save_every: PositiveCount = 200
    validate_every: PositiveCount = 200
    threads: Annotated[int, Field(ge=0, le=1024)] = 0  # 0: as many as torch chooses
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = True


@dataclass(frozen=True, config=STRICT)
class NetworkPart:
    """Shape of the trained network; the flags are the generator's ablations.

    architecture: the network that draws. wav2lip, the baseline, has a fixed shape and ignores width and flags.
    speech_encoder: name of the pretrained encoder whose features it hears; "": it hears mels.
    """

    image_size: ImageSize = 96
    width: Width = 1.0
    use_cbam: bool = True
    use_ffc: bool = True
    use_adain: bool = True
    architecture: Architecture = "lpips_attnwav2lip"
    speech_encoder: str = ""


@dataclass(frozen=True, config=STRICT)
class BatchPart:
    """Contents of one batch.

    The generator gets `runs` of five frames and `singles`, and for each run the sound of `others` other moments. A
    share `known` of its frames is drawn from the articulation on disk instead of the predicted one. The expert gets
    `moments` of each of `clips`. Hearing gets `voice_moments` of each of `voices`, a share `filmed` of which are real
    speakers if films are given.
    """

    runs: Count = 2
    singles: Count = 6
    others: PositiveCount = 7
    known: Share = 0.7
    clips: PositiveCount = 8
    moments: Annotated[int, Field(ge=2)] = 6  # the expert compares a sound with that of another moment
    voices: PositiveCount = 12
    voice_moments: PositiveCount = 12
    filmed: Share = 0.4


@dataclass(frozen=True, config=STRICT)
class LossPart:
    """Weight of each term of the generator's loss; 0 leaves a term out.

    behind: error, around the mouth, of the colours drawn behind the mask. Without this term the mask closes while the
    drawing is still poor, and then nothing improves the drawing. flow: how far the displacement misses the points of
    the mesh. mask: how far the mask differs from the opening of the lips. flow and mask count only for clips with a
    mesh. behind, flow and mask need a mask and a displacement, which wav2lip does not have. adversarial: score that a
    critic, trained at the same time, gives to the hidden part of the face.
    """

    l1: Weight = 1.0
    mouth: Weight = 1.0
    behind: Weight = 1.0
    edges: Weight = 0.0
    flow: Weight = 0.0
    mask: Weight = 0.0
    motion: Weight = 0.0
    sync: Weight = 0.0
    lpips: Weight = 0.0
    adversarial: Weight = 0.0


@dataclass(frozen=True, config=STRICT)
class LpipsPart:
    """LPIPS as a loss; see model/training/perceptual.py.

    backbone: "hed-vgg16", "random", or the file of AlexNet weights. There is no default, so that random weights are
    never used by accident. stages: how many of the backbone's five, the finest first. every: compare each so many-th
    crop of a batch only. Fewer stages and crops make a step faster.
    """

    backbone: str = ""
    stages: Annotated[int, Field(ge=1, le=STAGES)] = STAGES
    every: PositiveCount = 1


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """Everything that decides a run, except the clips and the networks trained before.

    Raises pydantic's ValidationError, a ValueError, for values that contradict each other.
    """

    run: RunPart
    network: NetworkPart = field(default_factory=NetworkPart)
    batch: BatchPart = field(default_factory=BatchPart)
    losses: LossPart = field(default_factory=LossPart)
    lpips: LpipsPart = field(default_factory=LpipsPart)

    @model_validator(mode="after")
    def _check_together(self) -> Recipe:
        """Raise ValueError if values of different tables contradict each other."""
        losses, batch = self.losses, self.batch
        if self.network.architecture == "wav2lip":
            if self.network.image_size != WAV2LIP_PX:
                found = self.network.image_size
                raise ValueError(f"network.image_size must be {WAV2LIP_PX} for wav2lip, not {found}")
            if self.network.speech_encoder:
                raise ValueError("network.speech_encoder must be empty for wav2lip: it hears mels")
            if losses.behind or losses.flow or losses.mask:
                raise ValueError("losses.behind, losses.flow and losses.mask must be 0 for wav2lip: it has no mask")
        if self.run.objective == "generator" and losses.lpips and not self.lpips.backbone:
            raise ValueError('losses.lpips needs lpips.backbone: "hed-vgg16", the file of AlexNet weights, or "random"')
        if batch.runs == 0 and (losses.sync or losses.motion):
            raise ValueError("losses.sync and losses.motion need batch.runs of at least 1")
        if batch.runs + batch.singles < 1:
            raise ValueError("batch.runs and batch.singles are both 0, which leaves nothing to draw")
        return self

    @property
    def crops_per_step(self) -> int:
        """Return how many crops one step processes, for a speed in crops per second."""
        part = self.batch
        return RUN * part.clips * part.moments if self.run.objective == "expert" else RUN * part.runs + part.singles

    def generator_config(self) -> GeneratorConfig:
        """Return the shape of the generator."""
        shape = self.network
        flags = shape.use_cbam, shape.use_ffc, shape.use_adain
        return GeneratorConfig(shape.image_size, shape.width, *flags, shape.speech_encoder)

    def checkpoint_config(self, notes: str) -> CheckpointConfig:
        """Return the config of the checkpoint that a run for a drawing network exports."""
        shape = self.network
        if shape.architecture == "wav2lip":  # our framing and hidden rows, but its own mel window
            return CheckpointConfig(architecture="wav2lip", mel_window=STARTING_AT_FRAME, notes=notes)
        return CheckpointConfig(
            image_size=shape.image_size,
            width=shape.width,
            use_cbam=shape.use_cbam,
            use_ffc=shape.use_ffc,
            use_adain=shape.use_adain,
            speech_encoder=shape.speech_encoder,
            notes=notes,
        )


def shipped_recipe(name: str) -> Path:
    """Return the path of a recipe that comes with the package, by its name in model/configs."""
    return Path(__file__).parents[1] / "configs" / f"{name}.toml"


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises RecipeError for a missing file, broken TOML, and an unknown name or a wrong value."""
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


def recipe_of(tables: Mapping[str, object]) -> Recipe:
    """Build the recipe from its tables. Raises RecipeError for an unknown name or a wrong value."""
    try:
        return config_from(Recipe, tables)
    except ValueError as error:
        raise RecipeError(str(error)) from error
