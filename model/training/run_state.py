"""State of a training run, and its file: everything needed to continue after the process was killed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.checkpoint import load_plain
from model.errors import CheckpointError, TrainingError
from model.files import replacing
from model.training.recipe import NetworkPart, Recipe

STATE = "state.pt"


@dataclass
class TrainingProgress:
    """Steps done and seconds spent, over all starts of a run."""

    step: int = 0
    elapsed_s: float = 0.0


@dataclass
class RunState:
    """Everything that a step changes.

    average: running average of the network's weights, which is exported. helpers: networks that are trained with it.
    """

    network: nn.Module
    average: nn.Module
    helpers: nn.ModuleList
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    progress: TrainingProgress

    def save(self, folder: Path, fixed: Mapping[str, object]) -> None:
        """Write the state to a folder in one step. fixed: see `fixed_choices`."""
        state = {
            "recipe": dict(fixed),
            "progress": asdict(self.progress),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "helpers": self.helpers.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        with replacing(folder / STATE) as partial:
            torch.save(state, partial)

    def restore(self, folder: Path, fixed: Mapping[str, object]) -> None:
        """Read the state from a folder. Raises TrainingError if it is unreadable or of another recipe."""
        path = folder / STATE
        try:
            state = load_plain(path)
        except CheckpointError as error:
            raise TrainingError(f"{path} cannot be read; remove it to start anew") from error
        try:
            if not isinstance(state, dict):
                raise TypeError(f"a state is a table, not {type(state).__name__}")
            _check_same(folder, state["recipe"], fixed)
            self._load(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise TrainingError(f"{path} is not the state of a run; remove it to start anew") from error

    def _load(self, state: Mapping[str, Any]) -> None:
        """Load every part; a state saved before helpers and scaler existed has none."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.helpers.load_state_dict(state.get("helpers", {}))
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled() and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.progress = TrainingProgress(**state["progress"])


def fixed_choices(recipe: Recipe, *, given_hearing: bool, given_films: bool = False) -> dict[str, object]:
    """Return the choices that must not change between the starts of a run; length, rate and loss weights may change.

    given_hearing: whether the run has the file of a hearing network that was trained before. given_films: whether
    hearing learns from films too.
    """
    return {
        "objective": recipe.run.objective,
        "network": asdict(recipe.network),
        "critic": bool(recipe.losses.adversarial),
        "hearing": recipe.run.objective == "generator" and given_hearing,
        "choice of films": recipe.run.objective == "hearing" and given_films,
    }


def _check_same(folder: Path, saved: Mapping[str, Any], fixed: Mapping[str, object]) -> None:
    """Raise TrainingError if a state was saved with other choices.

    A choice that did not exist when the state was saved counts as its default; the hearing counts as unchanged.
    """
    defaults = {"critic": False, "hearing": fixed["hearing"], "choice of films": False}
    known = {**defaults, **saved, "network": {**asdict(NetworkPart()), **saved["network"]}}
    changed = [name for name, choice in fixed.items() if known[name] != choice]
    if changed:
        raise TrainingError(f"{folder} was trained with another {changed[0]}; give the same, or choose another folder")


def remove_state(folder: Path) -> None:
    """Remove the state of an older run, if there is one."""
    (folder / STATE).unlink(missing_ok=True)
