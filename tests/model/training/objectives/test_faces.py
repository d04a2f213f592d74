"""Which crops and which part of them the terms of a loss compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model.audio import AROUND_FRAME
from model.training.clips import Corpus
from model.training.objectives.faces import LossNetworks
from model.training.objectives.generator import GeneratorObjective
from model.training.perceptual import TORCHVISION, Lpips
from model.training.recipe import BatchPart, LossPart, LpipsPart, NetworkPart, Recipe, RunPart
from tests.model.clips import SIZE, write_corpus


class Recorder(nn.Module):
    """Stage of a backbone that keeps the shapes of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(pictures.shape))
        return pictures


@pytest.mark.parametrize(("every", "count"), [(1, 9), (4, 3)])
def test_lpips_compares_the_mouth_half_of_some_crops(tmp_path: Path, every: int, count: int) -> None:
    recipe = Recipe(
        RunPart("generator", steps=1, learning_rate=1e-3, device="cpu"),
        NetworkPart(image_size=SIZE, width=0.25),
        BatchPart(runs=1, singles=4, others=1),
        LossPart(lpips=2.0),
        LpipsPart("random", every=every),
    )
    corpus = Corpus.open(write_corpus(tmp_path / "c"), "train", SIZE, AROUND_FRAME)
    stage = Recorder()
    networks = LossNetworks(lpips=Lpips([stage], [torch.ones(3)], TORCHVISION))
    objective = GeneratorObjective(recipe, corpus, corpus, torch.device("cpu"), networks, None)
    terms = {name: term.item() for name, term in objective.losses(np.random.default_rng(0)).items()}
    rows = SIZE - round(SIZE * recipe.checkpoint_config("").framing.hidden_from)
    assert stage.shapes == [(count, 3, rows, SIZE - 2 * (SIZE // 6))] * 2
    assert terms["lpips"] > 0
    weights = recipe.losses
    weighted = sum(getattr(weights, name) * value for name, value in terms.items() if name != "total")
    assert terms["total"] == pytest.approx(weighted, rel=1e-5)
