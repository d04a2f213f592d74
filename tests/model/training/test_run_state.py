"""The state of a run survives its process, and only the same run gets it back."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from model.errors import TrainingError
from model.training.recipe import LossPart, NetworkPart, Recipe, RunPart
from model.training.run_state import (
    STATE,
    RunState,
    TrainingProgress,
    fixed_choices,
    remove_state,
)

RECIPE = Recipe(RunPart("generator", steps=6, learning_rate=1e-3))
FIXED = fixed_choices(RECIPE, given_hearing=True)


def _state(seed: int) -> RunState:
    """Return a state after one step."""
    torch.manual_seed(seed)
    network, helpers = nn.Linear(3, 2), nn.ModuleList([nn.Linear(2, 1)])
    optimizer = torch.optim.AdamW([*network.parameters(), *helpers.parameters()], 1e-3)
    helpers[0](network(torch.ones(1, 3))).sum().backward()
    optimizer.step()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return RunState(network, copy.deepcopy(network), helpers, optimizer, scaler, TrainingProgress(seed, 0.5 * seed))


def test_a_restored_state_equals_the_saved_one(tmp_path: Path) -> None:
    saved, restored = _state(7), _state(8)
    saved.save(tmp_path, FIXED)
    restored.restore(tmp_path, FIXED)
    assert restored.progress == TrainingProgress(7, 3.5)
    for name in ("network", "average", "helpers"):
        torch.testing.assert_close(getattr(restored, name).state_dict(), getattr(saved, name).state_dict())
    torch.testing.assert_close(restored.optimizer.state_dict(), saved.optimizer.state_dict())


@pytest.mark.parametrize(
    ("recipe", "given_hearing", "changed"),
    [
        (replace(RECIPE, run=replace(RECIPE.run, objective="expert")), True, "objective"),
        (replace(RECIPE, network=NetworkPart(width=0.5)), True, "network"),
        (replace(RECIPE, losses=LossPart(adversarial=0.1)), True, "critic"),
        (RECIPE, False, "hearing"),
    ],
)
def test_the_state_of_another_run_is_refused(tmp_path: Path, recipe: Recipe, given_hearing: bool, changed: str) -> None:
    _state(7).save(tmp_path, FIXED)
    with pytest.raises(TrainingError, match=f"trained with another {changed}; give the same"):
        _state(8).restore(tmp_path, fixed_choices(recipe, given_hearing=given_hearing))


@pytest.mark.parametrize(("before", "now"), [(True, False), (False, True), (None, True)])
def test_hearing_is_not_resumed_with_or_without_films(tmp_path: Path, before: bool | None, now: bool) -> None:
    recipe = replace(RECIPE, run=replace(RECIPE.run, objective="hearing"))
    saved, asked = (fixed_choices(recipe, given_hearing=False, given_films=bool(films)) for films in (before, now))
    if before is None:
        del saved["choice of films"]  # as saved before this field existed
    _state(7).save(tmp_path, saved)
    with pytest.raises(TrainingError, match="trained with another choice of films; give the same"):
        _state(8).restore(tmp_path, asked)
    _state(8).restore(tmp_path, fixed_choices(recipe, given_hearing=False, given_films=bool(before)))


def test_length_rate_and_weights_of_losses_may_change() -> None:
    changed = replace(RECIPE, run=RunPart("generator", steps=9, learning_rate=1e-4), losses=LossPart(l1=3.0))
    assert fixed_choices(changed, given_hearing=True) == FIXED


def test_removing_leaves_other_files_alone(tmp_path: Path) -> None:
    for name in (STATE, "log.csv"):
        (tmp_path / name).write_text("x")
    for _ in range(2):
        remove_state(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
