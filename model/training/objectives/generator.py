"""Training of the generator, with the losses of all drawn faces (model/training/objectives/faces.py) and its own.

A hearing network that was trained before stays as it is. Drawing is learned mostly from the known articulation of each
frame. From a puppet's mesh, the source of every point of the skin and the opening of the lips are known. Displacement
and mask are therefore compared with the mesh directly, which takes a fraction of the steps that pixels alone would
need.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from model.arrays import F32
from model.corpus.puppet.mesh import INNER_LOWER, INNER_UPPER
from model.errors import RecipeError
from model.network.generator import Drawing, Generator, join_faces, known_face
from model.network.hearing import Hearing, normal_articulation
from model.training.batches import FaceBatch, Rng
from model.training.clips import Corpus
from model.training.losses import flow_loss, mask_loss, mouth_loss, opening_masks
from model.training.objectives.faces import FacesObjective, LossNetworks, Scene, heard_in
from model.training.objectives.protocol import Terms
from model.training.recipe import Recipe
from model.training.tensors import to_faces, to_sound

_CONTOUR = [*INNER_UPPER, *INNER_LOWER[-2:0:-1]]  # points of the mesh once around the opening
_OUTSIDE_OPENING = 0.25  # weight of the mask's error outside the opening, against 1 inside


class GeneratorObjective(FacesObjective):
    """Objective that trains the generator; see the module.

    hearing: trained before, and kept as it is; None: trained together with the drawing.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: Corpus,
        val: Corpus,
        device: torch.device,
        loss_networks: LossNetworks,
        hearing: Hearing | None,
    ) -> None:
        self._generator = Generator(recipe.generator_config())
        self._keeps_hearing = hearing is not None
        if hearing is not None:
            self._generator.hearing.load_state_dict(hearing.state_dict())
            self._generator.hearing.requires_grad_(False)
        super().__init__(recipe, train, val, device, self._generator, loss_networks)

    def continue_drawing(self, network: nn.Module) -> None:
        """Take over the weights of a trained generator, except its hearing.

        Raises RecipeError if its shape is not that of the recipe.
        """
        own = self._generator.state_dict()
        taken = {name: value for name, value in network.state_dict().items() if not name.startswith("hearing.")}
        if {name: value.shape for name, value in taken.items()} != {
            name: value.shape for name, value in own.items() if not name.startswith("hearing.")
        }:
            raise RecipeError("the checkpoint to continue has another shape than the recipe's network")
        self._generator.load_state_dict(own | taken)

    def draw_scene(self, rng: Rng, scene: Scene) -> tuple[Tensor, Terms]:
        """Draw from the known or the predicted articulation; add the terms of colours, displacement and mask."""
        if self._keeps_hearing:
            self._generator.hearing.eval()
        latent, predicted = self._generator.hearing(scene.sound)
        articulation = self._known_or_predicted(rng, scene.batch.articulation, predicted)
        target, reference = scene.target, scene.reference
        drawing = self._generator.draw(join_faces(target, reference, self._hidden_from), latent, articulation)
        terms = {"behind": mouth_loss(drawing.colours, target, scene.changed), **self._mesh_terms(drawing, scene.batch)}
        return drawing.compose(known_face(target, reference, self._hidden_from)), terms

    def _known_or_predicted(self, rng: Rng, rows: F32, predicted: Tensor) -> Tensor:
        """Return the known normal articulation for a random share of the batch, and the predicted one for the others.

        rows (N,7), NaN if unknown; predicted (N,7). Returns (N,7); unknown values are the predicted ones.
        """
        hidden = rng.random((len(rows), 1)) >= self._recipe.batch.known
        given = torch.from_numpy(np.where(hidden, np.float32(np.nan), rows)).to(self._device)
        known = normal_articulation(given)
        return torch.where(known.isfinite(), known, predicted.float())

    def _mesh_terms(self, drawing: Drawing, batch: FaceBatch) -> Terms:
        """Compare displacement and mask with the mesh, for the faces that have one."""
        weights, meshed = self._recipe.losses, np.isfinite(batch.target_mesh).all((1, 2))
        if not meshed.any() or not (weights.flow or weights.mask):
            return {}
        which = torch.from_numpy(meshed).to(self._device)
        to, source = (
            torch.from_numpy(mesh[meshed]).to(self._device) for mesh in (batch.target_mesh, batch.reference_mesh)
        )
        size = drawing.mask.shape[2]
        opening = opening_masks(to[:, _CONTOUR], size)
        place = self._weights * (_OUTSIDE_OPENING + (1 - _OUTSIDE_OPENING) * opening)
        return {
            "flow": flow_loss(drawing.offsets[which], to, source, self._hidden_from),
            "mask": mask_loss(drawing.mask[which], opening, place),
        }

    def drawn(self, network: nn.Module, batch: FaceBatch, sound: F32) -> Tensor:
        """Draw a batch as in serving, from the predicted articulation."""
        faces, known = self._inputs(batch)
        drawing: Drawing = _as_generator(network)(faces, to_sound(sound, self._device))
        return drawing.compose(known)

    def drawn_from_labels(self, network: nn.Module, batch: FaceBatch) -> dict[str, Tensor]:
        """Draw a batch from its known articulation, if it has one.

        The gain over the predicted articulation is what a better hearing network could bring.
        """
        if not np.isfinite(batch.articulation).all():
            return {}
        generator, (faces, known) = _as_generator(network), self._inputs(batch)
        latent, _ = generator.hearing(to_sound(heard_in(batch), self._device))
        rows = normal_articulation(torch.from_numpy(batch.articulation).to(self._device))
        return {"known": generator.draw(faces, latent, rows).compose(known)}

    def _inputs(self, batch: FaceBatch) -> tuple[Tensor, Tensor]:
        """Return the network's input for a batch, (N,6,S,S), and the known pixels of its faces, (N,3,S,S)."""
        target, reference = to_faces(batch.targets, self._device), to_faces(batch.references, self._device)
        return join_faces(target, reference, self._hidden_from), known_face(target, reference, self._hidden_from)


def _as_generator(network: nn.Module) -> Generator:
    if not isinstance(network, Generator):
        raise TypeError(f"this objective trains generators, not {type(network).__name__}")
    return network
