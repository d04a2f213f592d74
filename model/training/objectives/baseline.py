"""Training of Wav2Lip's own architecture on the same batches: the baseline to beat.

As published, the network gets a face with hidden rows and draws the whole face, from pixels alone. It has no place for
a hearing network trained before, nor for the mesh and the articulation of a puppet. It gets the columns of the sound
for which it was designed: those from the frame's own column on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.arrays import F32
from model.audio import AROUND_FRAME, STARTING_AT_FRAME
from model.network.generator import join_faces
from model.network.wav2lip import Wav2Lip
from model.training.batches import FaceBatch, Rng
from model.training.clips import Corpus
from model.training.objectives.faces import FacesObjective, LossNetworks, Scene
from model.training.objectives.protocol import Terms
from model.training.recipe import Recipe
from model.training.tensors import to_faces, to_sound

_FIRST = STARTING_AT_FRAME.offset_columns - AROUND_FRAME.offset_columns
_COLUMNS = slice(_FIRST, _FIRST + STARTING_AT_FRAME.columns)


class BaselineObjective(FacesObjective):
    """Objective that trains Wav2Lip; see the module."""

    def __init__(
        self, recipe: Recipe, train: Corpus, val: Corpus, device: torch.device, loss_networks: LossNetworks
    ) -> None:
        super().__init__(recipe, train, val, device, Wav2Lip(), loss_networks)

    def draw_scene(self, rng: Rng, scene: Scene) -> tuple[Tensor, Terms]:
        """Draw a batch in training mode; this network has no terms of its own."""
        return self._draw(self.network, scene.target, scene.reference, scene.mels), {}

    def drawn(self, network: nn.Module, batch: FaceBatch, sound: F32) -> Tensor:
        """Draw a batch as in serving."""
        target, reference = to_faces(batch.targets, self._device), to_faces(batch.references, self._device)
        return self._draw(network, target, reference, to_sound(sound, self._device))

    def _draw(self, network: nn.Module, target: Tensor, reference: Tensor, mels: Tensor) -> Tensor:
        faces: Tensor = network(join_faces(target, reference, self._hidden_from), mels[..., _COLUMNS])
        return faces
