"""Train Wav2Lip's own architecture on the same batches: the baseline to beat.

It sees the same rows hidden and draws the whole face, as published, from pixels alone: it has no place for a hearing
learned before, nor for what a puppet's mesh and articulation tell. Of the sound of a batch it is given the columns it
knows, those from the frame's own on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.arrays import F32
from model.audio import AROUND_FRAME, STARTING_AT_FRAME
from model.network.sync_expert import SyncExpert
from model.network.wav2lip import Wav2Lip
from model.synthesizer import join_faces
from model.training.clips import Corpus, FaceBatch, Rng
from model.training.objectives.faces import FacesObjective, Scene
from model.training.objectives.protocol import Terms
from model.training.recipe import Recipe
from model.training.tensors import to_faces, to_mels

_FIRST = STARTING_AT_FRAME.offset_columns - AROUND_FRAME.offset_columns
_COLUMNS = slice(_FIRST, _FIRST + STARTING_AT_FRAME.columns)


class BaselineObjective(FacesObjective):
    """Train Wav2Lip; see the module."""

    def __init__(
        self, recipe: Recipe, train: Corpus, val: Corpus, device: torch.device, expert: SyncExpert | None
    ) -> None:
        super().__init__(recipe, train, val, device, Wav2Lip(), expert)

    def show(self, rng: Rng, scene: Scene) -> tuple[Tensor, Terms]:
        """Draw; there are no terms of its own."""
        return self._draw(self.network, scene.target, scene.reference, scene.mels), {}

    def drawn(self, network: nn.Module, batch: FaceBatch, mels: F32) -> Tensor:
        """Draw a batch."""
        target, reference = to_faces(batch.targets, self._device), to_faces(batch.references, self._device)
        return self._draw(network, target, reference, to_mels(mels, self._device))

    def _draw(self, network: nn.Module, target: Tensor, reference: Tensor, mels: Tensor) -> Tensor:
        faces: Tensor = network(join_faces(target, reference, self._hidden_from), mels[..., _COLUMNS])
        return faces
