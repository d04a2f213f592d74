"""The one training loop, for hearing, the sync expert and the generator.

A run is a folder: `state.pt` (everything needed to go on after a kill at any moment), `log.csv`, `sheet_*.png`, and the
exported checkpoint of the averaged weights. Batches depend on the seed and the number of the step alone, so a resumed
run follows the same curve as an uninterrupted one.
"""

from __future__ import annotations

import copy
import csv
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from model.checkpoint import CheckpointError, load_expert, load_hearing, load_plain
from model.dataset import Corpus
from model.objectives.expert import ExpertObjective
from model.objectives.generator import GeneratorObjective
from model.objectives.hearing import HearingObjective
from model.objectives.protocol import Objective
from model.recipe import Recipe, RecipeError
from model.synthesizer import choose_device, choose_precision
from model.voices import Voices

_STATE, _LOG = "state.pt", "log.csv"
_FINAL_RATE = 0.02  # of the learning rate, at the end
_CLIP_NORM = 5.0


class TrainingError(Exception):
    """Say in one sentence why training cannot start, go on, or has failed."""


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
) -> Path:
    """Train until the recipe's steps or the minutes are over; return the exported checkpoint.

    expert: the exported sync expert, needed where a generator's losses.sync is not 0. hearing: the exported hearing,
    which a generator keeps as it is; without it, it learns to hear by what it draws.
    Raises CorpusError, RecipeError, CheckpointError, BackboneError, and TrainingError for a loss that is not finite or
    a state of another recipe.
    """
    if recipe.run.threads:
        torch.set_num_threads(recipe.run.threads)
    run_dir.mkdir(parents=True, exist_ok=True)
    device = torch.device(choose_device(recipe.run.device))
    torch.manual_seed(recipe.run.seed)
    objective = _objective(recipe, corpus_dir, device, expert, hearing)
    run = _Run(recipe, objective, run_dir, device, minutes)
    if resume and (run_dir / _STATE).is_file():
        run.restore()
    return run.go()


def _objective(
    recipe: Recipe, corpus_dir: Path, device: torch.device, expert: Path | None, hearing: Path | None
) -> Objective:
    window, size = recipe.checkpoint_config("").mel_window, recipe.network.image_size
    if recipe.run.objective == "hearing":
        voices, unheard = (Voices(corpus_dir, split, window) for split in ("train", "val"))
        return HearingObjective(recipe, voices, unheard, device)
    clips, held_out = (Corpus(corpus_dir, split, size, window) for split in ("train", "val"))
    if recipe.run.objective == "expert":
        return ExpertObjective(recipe, clips, held_out, device)
    ear = load_hearing(hearing) if hearing is not None else None
    if expert is None:
        if recipe.losses.sync:
            raise RecipeError("losses.sync needs a trained expert: train one first and name its file")
        return GeneratorObjective(recipe, clips, held_out, device, None, ear)
    judge = load_expert(expert)
    if judge.config.image_size != size:
        raise RecipeError(f"the expert is for {judge.config.image_size} px, the recipe for {size} px")
    return GeneratorObjective(recipe, clips, held_out, device, judge, ear)


class _Run:
    """One start of a run: the loop with what it changes."""

    def __init__(
        self, recipe: Recipe, objective: Objective, folder: Path, device: torch.device, minutes: float | None
    ) -> None:
        self.recipe, self.objective, self.folder, self.minutes = recipe, objective, folder, minutes
        self.network = objective.network.to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), recipe.run.learning_rate, (0.9, 0.98), weight_decay=recipe.run.weight_decay
        )
        precision = choose_precision(recipe.run.precision, device.type)
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
        self.progress = Progress()

    def go(self) -> Path:
        """Take steps until the end, then export."""
        run, started_s = self.recipe.run, time.monotonic() - self.progress.elapsed_s
        log = _Log(self.folder / _LOG, self.progress.step)
        exported = self.folder / f"{run.objective}.safetensors"
        with tqdm(total=run.steps, initial=self.progress.step, desc=run.objective, dynamic_ncols=True) as bar:
            while self.share_done() < 1:
                terms = self.step()
                self.progress.step += 1
                self.progress.elapsed_s = time.monotonic() - started_s
                bar.update()
                last = self.share_done() >= 1
                if last or self.progress.step % run.validate_every == 0:
                    terms |= self.look()
                    bar.set_postfix({name: f"{value:.4f}" for name, value in terms.items()}, refresh=False)
                log.write(self.progress, self.optimizer.param_groups[0]["lr"], terms)
                if last or self.progress.step % run.save_every == 0:
                    log.flush()
                    self.save()
                    self.objective.export(self.average, exported, f"{self.progress.step} steps")
        return exported

    def share_done(self) -> float:
        """Return how much of the run is over, by steps or by the clock, whichever is further."""
        by_step = self.progress.step / self.recipe.run.steps
        return max(by_step, self.progress.elapsed_s / (60 * self.minutes)) if self.minutes else by_step

    def step(self) -> dict[str, float]:
        """Take one step; return its terms. Raises TrainingError for a loss that is not finite."""
        run, number = self.recipe.run, self.progress.step
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
        terms["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP_NORM)
        self.optimizer.step()
        _follow(self.average, self.network, min(run.ema_decay, (1 + number) / (10 + number)))
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
            "recipe": _comparable(self.recipe),
            "progress": asdict(self.progress),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
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
        saved, own = state["recipe"], _comparable(self.recipe)
        changed = [name for name in own if saved.get(name) != own[name]]
        if changed:
            raise TrainingError(f"{self.folder} was trained with another {changed[0]}; choose another folder")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])


class _Log:
    """A CSV of every step; what a killed run logged after its last saved state is dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.is_file() and step:
            with path.open(newline="") as file:
                self.rows = [dict(row) for row in csv.DictReader(file) if int(row["step"]) <= step]

    def write(self, progress: Progress, rate: float, terms: Mapping[str, float]) -> None:
        """Add a step."""
        rounded = {name: f"{value:.6f}" for name, value in terms.items()}
        self.rows.append(
            {"step": progress.step, "elapsed_s": f"{progress.elapsed_s:.1f}", "rate": f"{rate:.2e}", **rounded}
        )

    def flush(self) -> None:
        """Write the whole table anew: it gains columns at the first validation."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(self.path)


def _comparable(recipe: Recipe) -> dict[str, Any]:
    """Return what must not change between the starts of a run; its length, rate and looks may."""
    parts = asdict(recipe)
    return {"objective": parts["run"]["objective"], "network": parts["network"]}


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average towards the network; batch statistics are copied as they are."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for own, theirs in zip(average.buffers(), network.buffers(), strict=True):
        own.copy_(theirs)
