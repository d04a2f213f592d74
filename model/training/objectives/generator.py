"""Train the generator to draw what is hidden, judged as every drawn face is (model/training/objectives/faces.py).

Hearing was learned before and is kept; drawing is learned mostly from the articulation that is known of each frame. A
puppet's mesh says where every point of the skin comes from and where the lips are open, so displacement and mask are
taught directly, which takes a fraction of the steps that pixels alone would need.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from model.arrays import F32
from model.corpus.puppet.mesh import INNER_LOWER, INNER_UPPER
from model.network.generator import Drawing, Generator, known_face
from model.network.hearing import Hearing, normal_articulation
from model.network.sync_expert import SyncExpert
from model.synthesizer import join_faces
from model.training.clips import Corpus, FaceBatch, Rng
from model.training.losses import flow_loss, mask_loss, mouth_loss, opening_masks
from model.training.objectives.faces import FacesObjective, Scene
from model.training.objectives.protocol import Terms
from model.training.recipe import Recipe
from model.training.tensors import to_faces, to_mels

_CONTOUR = [*INNER_UPPER, *INNER_LOWER[-2:0:-1]]  # once around the opening
_OUTSIDE_OPENING = 0.25  # weight of the mask where lips are closed, against 1 inside


class GeneratorObjective(FacesObjective):
    """Train the generator; see the module."""

    def __init__(
        self,
        recipe: Recipe,
        train: Corpus,
        val: Corpus,
        device: torch.device,
        expert: SyncExpert | None,
        hearing: Hearing | None,
    ) -> None:
        self._generator = Generator(recipe.generator_config())
        self._keeps_hearing = hearing is not None
        if hearing is not None:
            self._generator.hearing.load_state_dict(hearing.state_dict())
            self._generator.hearing.requires_grad_(False)
        super().__init__(recipe, train, val, device, self._generator, expert)

    def show(self, rng: Rng, scene: Scene) -> tuple[Tensor, Terms]:
        """Draw from the articulation, known or heard; compare the colours behind the mask, and what the mesh knows."""
        if self._keeps_hearing:
            self._generator.hearing.eval()
        latent, heard = self._generator.hearing(scene.mels)
        articulation = self._known_or_heard(rng, scene.batch.articulation, heard)
        target, reference = scene.target, scene.reference
        drawing = self._generator.draw(join_faces(target, reference, self._hidden_from), latent, articulation)
        terms = {"behind": mouth_loss(drawing.colours, target, scene.changed), **self._mesh_terms(drawing, scene.batch)}
        return drawing.compose(known_face(target, reference, self._hidden_from)), terms

    def _known_or_heard(self, rng: Rng, rows: F32, heard: Tensor) -> Tensor:
        """Return the normal articulation of a share of the batch, what is heard for the others and where unknown."""
        hidden = rng.random((len(rows), 1)) >= self._recipe.batch.known
        shown = torch.from_numpy(np.where(hidden, np.float32(np.nan), rows)).to(self._device)
        known = normal_articulation(shown)
        return torch.where(known.isfinite(), known, heard.float())

    def _mesh_terms(self, drawing: Drawing, batch: FaceBatch) -> Terms:
        """Compare displacement and mask with what the mesh says, for the faces that have one."""
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

    def drawn(self, network: nn.Module, batch: FaceBatch, mels: F32) -> Tensor:
        """Draw a batch from what is heard."""
        faces, known = self._inputs(batch)
        drawing: Drawing = _as_generator(network)(faces, to_mels(mels, self._device))
        return drawing.compose(known)

    def knowing(self, network: nn.Module, batch: FaceBatch) -> dict[str, Tensor]:
        """Draw a batch from its known articulation: how much better it gets is what better hearing could bring."""
        if not np.isfinite(batch.articulation).all():
            return {}
        generator, (faces, known) = _as_generator(network), self._inputs(batch)
        latent, _ = generator.hearing(to_mels(batch.mels, self._device))
        rows = normal_articulation(torch.from_numpy(batch.articulation).to(self._device))
        return {"known": generator.draw(faces, latent, rows).compose(known)}

    def _inputs(self, batch: FaceBatch) -> tuple[Tensor, Tensor]:
        """Return what the network sees of a batch, (N,6,S,S), and what is known of the faces, (N,3,S,S)."""
        target, reference = to_faces(batch.targets, self._device), to_faces(batch.references, self._device)
        return join_faces(target, reference, self._hidden_from), known_face(target, reference, self._hidden_from)


def _as_generator(network: nn.Module) -> Generator:
    if not isinstance(network, Generator):
        raise TypeError(f"this objective trains generators, not {type(network).__name__}")
    return network
