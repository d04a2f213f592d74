"""The one training loop, for hearing, the sync expert and the generator.

A run is a folder: `state.pt` (everything needed to go on after a kill at any moment), `log.csv`, `tensorboard/`,
`sheet_*.png`, and the exported checkpoint of the averaged weights. Chance depends on the seed and the number of the
step alone, so a resumed run follows the same curve as an uninterrupted one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from model.audio import AROUND_FRAME
from model.checkpoint import load_expert, load_hearing, load_plain
from model.errors import CheckpointError, RecipeError, TrainingError
from model.network.hearing import CALIBRATED
from model.synthesizer import choose_device, choose_precision
from model.training.clips import Corpus
from model.training.objectives.baseline import BaselineObjective
from model.training.objectives.expert import ExpertObjective
from model.training.objectives.generator import GeneratorObjective
from model.training.objectives.hearing import HearingObjective
from model.training.objectives.protocol import Objective
from model.training.recipe import NetworkPart, Recipe
from model.training.run_log import Curves
from model.training.voices import Voices

_STATE = "state.pt"
_FINAL_RATE = 0.02  # of the learning rate, at the end
_CLIP_NORM = 5.0
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Progress:
    """How far a run is: steps done, and seconds spent, over all its starts."""

    step: int = 0
    elapsed_s: float = 0.0


def train(
    recipe: Recipe,
    corpus_dir: Path,
    run_dir: Path,
    minutes: float | None = None,
    resume: bool = True,
    expert: Path | None = None,
    hearing: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train until the recipe's steps or the minutes are over; return the exported checkpoint.

    expert: the exported sync expert, needed where a generator's losses.sync is not 0. hearing: the exported hearing,
    which a generator keeps as it is; without it, it learns to hear by what it draws. `tell` hears what a person should
    know. Raises CorpusError, RecipeError, CheckpointError, BackboneError, and TrainingError for a device that is
    absent, a folder that cannot be written, a loss that is not finite or a state of another recipe.
    """
    if recipe.run.threads:
        torch.set_num_threads(recipe.run.threads)
    try:
        device = torch.device(choose_device(recipe.run.device))
        precision = choose_precision(recipe.run.precision, device.type)
        run_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise TrainingError(str(error)) from error
    torch.manual_seed(recipe.run.seed)
    objective = _objective(recipe, corpus_dir, device, expert, hearing)
    run = _Run(recipe, objective, run_dir, device, precision, minutes, _comparable(recipe, hearing))
    if resume and (run_dir / _STATE).is_file():
        run.restore()
    else:
        (run_dir / _STATE).unlink(missing_ok=True)  # else, killed before its first save, the older run would go on
    return run.go(tell)


def _objective(
    recipe: Recipe, corpus_dir: Path, device: torch.device, expert: Path | None, hearing: Path | None
) -> Objective:
    size = recipe.network.image_size
    if recipe.run.objective == "hearing":
        voices, unheard = (Voices(corpus_dir, split, AROUND_FRAME) for split in ("train", "val"))
        return HearingObjective(recipe, voices, unheard, device)
    clips, held_out = (Corpus(corpus_dir, split, size, AROUND_FRAME) for split in ("train", "val"))
    if recipe.run.objective == "expert":
        return ExpertObjective(recipe, clips, held_out, device)
    if expert is None and recipe.losses.sync:
        raise RecipeError("losses.sync needs a trained expert: train one first and name its file")
    judge = load_expert(expert) if expert is not None else None
    if judge is not None and judge.config.image_size != size:
        raise RecipeError(f"the expert is for {judge.config.image_size} px, the recipe for {size} px")
    if recipe.network.architecture == "wav2lip":
        if hearing is not None:
            raise RecipeError("network.architecture wav2lip learns to hear by itself: leave the hearing out")
        return BaselineObjective(recipe, clips, held_out, device, judge)
    ear = load_hearing(hearing) if hearing is not None else None
    return GeneratorObjective(recipe, clips, held_out, device, judge, ear)


class _Run:
    """One start of a run: the loop with what it changes."""

    def __init__(
        self,
        recipe: Recipe,
        objective: Objective,
        folder: Path,
        device: torch.device,
        precision: str,
        minutes: float | None,
        comparable: Mapping[str, Any],
    ) -> None:
        self.recipe, self.objective, self.folder, self.minutes = recipe, objective, folder, minutes
        self.comparable = comparable
        self.network = objective.network.to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.helpers = nn.ModuleList(objective.helpers).to(device)
        if recipe.run.compile and device.type == "cuda":  # on a CPU it takes minutes to save seconds
            compile_parts(self.network)
        learned = [*self.network.parameters(), *self.helpers.parameters()]
        self.optimizer = torch.optim.AdamW(
            learned, recipe.run.learning_rate, (0.9, 0.98), weight_decay=recipe.run.weight_decay
        )
        self.autocast = torch.autocast(device.type, _DTYPES[precision], enabled=precision != "fp32")
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.progress = Progress()

    def go(self, tell: Callable[[str], None]) -> Path:
        """Take steps until the end, then export."""
        run, started_s = self.recipe.run, time.monotonic() - self.progress.elapsed_s
        exported = self.folder / f"{run.objective}.safetensors"
        if self.share_done() >= 1:  # a kill may have come before the last export, a new length before any calibration
            self.look()
            self.objective.export(self.average, exported, f"{self.progress.step} steps")
            return exported
        with (
            closing(self.curves(tell)) as curves,
            tqdm(
                total=None if self.minutes else run.steps,
                initial=self.progress.step,
                desc=run.objective,
                dynamic_ncols=True,
            ) as bar,
        ):
            shown: dict[str, str] = {}
            while self.share_done() < 1:
                step_started_s = time.monotonic()
                terms = self.step()
                crops_per_s = self.recipe.crops_per_step / (time.monotonic() - step_started_s)
                self.progress.step += 1
                self.progress.elapsed_s = time.monotonic() - started_s
                last = self.share_done() >= 1
                if last or self.progress.step % run.validate_every == 0:
                    terms |= self.look()
                    shown = {name: f"{value:.4f}" for name, value in terms.items()}
                pace = {"crops/s": f"{crops_per_s:.0f}"}
                if self.minutes:
                    pace["min left"] = f"{max(0.0, self.minutes - self.progress.elapsed_s / 60):.1f}"
                bar.set_postfix({**pace, **shown}, refresh=False)
                bar.update()
                rate = self.optimizer.param_groups[0]["lr"]
                curves.write(self.progress.step, self.progress.elapsed_s, rate, crops_per_s, terms)
                if last or self.progress.step % run.save_every == 0:
                    curves.flush()
                    self.save()
                    self.objective.export(self.average, exported, f"{self.progress.step} steps")
        return exported

    def curves(self, tell: Callable[[str], None]) -> Curves:
        """Open the curves. Raises TrainingError where something else lies in their place."""
        try:
            return Curves(self.folder, self.progress.step, tell)
        except (OSError, ValueError, KeyError) as error:
            raise TrainingError(f"{self.folder} cannot hold the curves ({error}); choose another folder") from error

    def share_done(self) -> float:
        """Return how much of the run is over, by steps or by the clock, whichever is further."""
        by_step = self.progress.step / self.recipe.run.steps
        return max(by_step, self.progress.elapsed_s / (60 * self.minutes)) if self.minutes else by_step

    def step(self) -> dict[str, float]:
        """Take one step; return its terms. Raises TrainingError for a loss or a gradient that is not finite."""
        run, number = self.recipe.run, self.progress.step
        torch.manual_seed(run.seed + number)  # a resumed run meets the same chance
        warm = min(1.0, (number + 1) / max(1, run.warmup_steps))
        late = max(0.0, self.share_done() - run.decay_from) / (1 - run.decay_from) if run.decay_from < 1 else 0.0
        for group in self.optimizer.param_groups:
            group["lr"] = run.learning_rate * warm * (1 - (1 - _FINAL_RATE) * late)
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            terms = self.objective.losses(np.random.default_rng((run.seed, number)))
        if not bool(torch.isfinite(terms["total"])):
            raise TrainingError(f"the loss of step {number} is not finite; resume with a lower learning rate")
        self.scaler.scale(terms["total"]).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        parts = [self.network, *self.helpers]  # apart, so that none slows another down
        norm = sum(torch.nn.utils.clip_grad_norm_(part.parameters(), _CLIP_NORM) for part in parts)
        if not self.scaler.is_enabled() and not math.isfinite(norm):  # a scaler skips such a step
            raise TrainingError(f"the gradient of step {number} is not finite; resume with a lower learning rate")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        follow(self.average, self.network, min(run.ema_decay, (1 + number) / (10 + number)))
        return {name: float(term.detach()) for name, term in terms.items()}

    def look(self) -> dict[str, float]:
        """Validate the averaged weights and draw the sample sheet."""
        with self.autocast:
            measured = self.objective.validate(self.average)
            sheet = self.objective.sheet(self.average)
        if sheet is not None:
            Image.fromarray(sheet).save(self.folder / f"sheet_{self.progress.step:06d}.png")
        return measured

    def save(self) -> None:
        """Write the state; whenever the process dies, a whole one is left."""
        state = {
            "recipe": dict(self.comparable),
            "progress": asdict(self.progress),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "helpers": self.helpers.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        partial = self.folder / f".{_STATE}.partial"
        torch.save(state, partial)
        partial.replace(self.folder / _STATE)

    def restore(self) -> None:
        """Go back to the saved state. Raises TrainingError where it is unreadable or of another recipe."""
        try:
            state = load_plain(self.folder / _STATE)
        except CheckpointError as error:
            raise TrainingError(f"{self.folder / _STATE} cannot be read; remove it to start anew") from error
        try:
            self._check_same(state["recipe"])
            self._load(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise TrainingError(f"{self.folder / _STATE} is not the state of a run; remove it to start anew") from error

    def _check_same(self, saved: Mapping[str, Any]) -> None:
        """Raise TrainingError where the state is of another recipe; of before a field existed, it has its default."""
        unsaid = {"critic": False, "hearing": self.comparable["hearing"]}
        known = {**unsaid, **saved, "network": {**asdict(NetworkPart()), **saved["network"]}}
        changed = [name for name, own in self.comparable.items() if known[name] != own]
        if changed:
            raise TrainingError(
                f"{self.folder} was trained with another {changed[0]}; give the same, or choose another folder"
            )

    def _load(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.helpers.load_state_dict(state.get("helpers", {}))
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled() and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])


def _comparable(recipe: Recipe, hearing: Path | None) -> dict[str, Any]:
    """Return what must not change between the starts of a run; its length, rate and looks may."""
    return {
        "objective": recipe.run.objective,
        "network": asdict(recipe.network),
        "critic": bool(recipe.losses.adversarial),
        "hearing": recipe.run.objective == "generator" and hearing is not None,
    }


def compile_parts(network: nn.Module) -> None:
    """Have the parts of a network compiled at their first use; names of weights stay as they are.

    The parts, not the whole: objectives call the network by its methods, which only then profit.
    """
    for part in network.children():
        if isinstance(part, nn.ModuleList | nn.ModuleDict):
            compile_parts(part)
        else:
            part.compile()


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average towards the network; batch statistics are copied, what was calibrated on the average stays."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for (name, own), theirs in zip(average.named_buffers(), network.buffers(), strict=True):
        if name.rpartition(".")[2] not in CALIBRATED:
            own.copy_(theirs)
