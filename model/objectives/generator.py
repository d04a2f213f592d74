"""Train the generator to draw what is hidden, judged by pixels, by eye (LPIPS) and by the sync expert.

Hearing was learned before and is kept; drawing is learned mostly from the articulation that is known of each frame. A
puppet's mesh says where every point of the skin comes from and where the lips are open, so displacement and mask are
taught directly, which takes a fraction of the steps that pixels alone would need.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.audio import SILENCE
from model.checkpoint import save_checkpoint
from model.corpus.mesh import INNER_LOWER, INNER_UPPER
from model.dataset import RUN, Corpus, FaceBatch, Rng, vary_mels
from model.losses import (
    change_weights,
    edge_loss,
    flow_loss,
    mask_loss,
    motion_loss,
    mouth_loss,
    mouth_weights,
    opening_masks,
    pixel_loss,
    sync_loss,
)
from model.network.generator import Drawing, Generator, known_face
from model.network.hearing import Hearing, normal_articulation
from model.network.sync_expert import SyncExpert, stack_lower_halves
from model.objectives.protocol import VALIDATION_SEED, Terms
from model.perceptual import Lpips
from model.recipe import Recipe
from model.synthesizer import join_faces
from model.tensors import to_faces, to_mels, vary_faces

_VALIDATION_FACES, _SHEET_FACES = 48, 10
_CONTOUR = [*INNER_UPPER, *INNER_LOWER[-2:0:-1]]  # once around the opening
_OUTSIDE_OPENING = 0.25  # weight of the mask where lips are closed, against 1 inside


class GeneratorObjective:
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
        self._recipe, self._train, self._val, self._device = recipe, train, val, device
        config = recipe.checkpoint_config("")
        self._hidden_from = config.framing.hidden_from
        self.network = Generator(recipe.generator_config())
        self._keeps_hearing = hearing is not None
        if hearing is not None:
            self.network.hearing.load_state_dict(hearing.state_dict())
            self.network.hearing.requires_grad_(False)
        self._weights = mouth_weights(config.image_size, config.framing).to(device)
        self._expert = expert.to(device).requires_grad_(False).eval() if expert else None
        self._lpips = Lpips(recipe.lpips.backbone).to(device) if recipe.losses.lpips else None

    def losses(self, rng: Rng) -> Terms:
        """Draw faces, return every weighted term by name and their total."""
        part = self._recipe.batch
        batch = self._train.faces(rng, part.runs, part.singles, part.others)
        groups = [RUN] * part.runs + [1] * part.singles
        mels, others = self._vary_sound(rng, batch, groups)
        target, reference = vary_faces(
            rng, [to_faces(batch.targets, self._device), to_faces(batch.references, self._device)], groups
        )
        if self._keeps_hearing:
            self.network.hearing.eval()
        latent, heard = self.network.hearing(mels)
        articulation = self._known_or_heard(rng, batch.articulation, heard)
        drawing = self.network.draw(join_faces(target, reference, self._hidden_from), latent, articulation)
        shown = drawing.compose(known_face(target, reference, self._hidden_from))
        changed = change_weights(target, reference, self._weights)
        terms = {
            "mouth": mouth_loss(shown, target, changed),
            "behind": mouth_loss(drawing.colours, target, changed),
            **self._pixel_terms(shown, target),
            **self._mesh_terms(drawing, batch),
            **self._run_terms(shown, target, mels, others),
        }
        weights = self._recipe.losses
        total = sum(
            (getattr(weights, name) * term for name, term in terms.items()), torch.zeros((), device=self._device)
        )
        return {"total": total, **terms}

    def _vary_sound(self, rng: Rng, batch: FaceBatch, groups: list[int]) -> tuple[Tensor, list[Tensor]]:
        """Vary the sound of each group as one; return the faces' mels and, of each run, those of other moments."""
        starts = np.cumsum([0, *groups])
        varied = [
            vary_mels(rng, np.concatenate([batch.mels[start : start + length], *batch.others[k : k + 1]]))
            for k, (start, length) in enumerate(zip(starts, groups, strict=False))
        ]
        own = np.concatenate([mel[:length] for mel, length in zip(varied, groups, strict=True)])
        return to_mels(own, self._device), [to_mels(mel[RUN:], self._device) for mel in varied[: batch.runs]]

    def _known_or_heard(self, rng: Rng, rows: NDArray[np.float32], heard: Tensor) -> Tensor:
        """Return the normal articulation of a share of the batch, what is heard for the others and where unknown."""
        hidden = rng.random((len(rows), 1)) >= self._recipe.batch.known
        shown = torch.from_numpy(np.where(hidden, np.float32(np.nan), rows)).to(self._device)
        known = normal_articulation(shown)
        return torch.where(known.isfinite(), known, heard.float())

    def _pixel_terms(self, shown: Tensor, target: Tensor) -> Terms:
        weights = self._recipe.losses
        terms = {"l1": pixel_loss(shown, target)}
        if weights.edges:
            terms["edges"] = edge_loss(shown, target, self._weights)
        if self._lpips is not None:
            size = target.shape[2]
            row, column = round(size * self._hidden_from), size // 6  # what lies above is given, beside is no face
            terms["lpips"] = self._lpips(*(face[:, :, row:, column:-column] for face in (shown, target)))
        return terms

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

    def _run_terms(self, shown: Tensor, target: Tensor, mels: Tensor, others: list[Tensor]) -> Terms:
        """Judge the runs of five consecutive frames: how they move, and what the expert says."""
        weights, terms = self._recipe.losses, Terms()
        if not others:
            return terms
        runs = _runs(shown, len(others))
        if weights.motion:
            terms["motion"] = motion_loss(runs, _runs(target, len(others)), self._weights)
        if weights.sync and self._expert is not None:
            middle = _runs(mels, len(others))[:, RUN // 2]
            with torch.no_grad():
                audio = self._expert.embed_audio(middle)
                apart = self._expert.embed_audio(torch.cat(others)).reshape(len(others), -1, audio.shape[1])
            face = self._expert.embed_face(stack_lower_halves(runs))
            terms["sync"] = sync_loss(face, audio, apart, self._expert.log_scale.exp())
        return terms

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Measure the mouth's error with its own sound, with another's, and with its articulation known.

        The gap between the first two is what the sound is worth, between the first and the last what better hearing
        could bring.
        """
        batch = self._validation(_VALIDATION_FACES)
        target = to_faces(batch.targets, self._device)

        def error(drawn: Tensor) -> float:
            return float(mouth_loss(drawn, target, self._weights))

        measured = {
            "val_mouth": error(self._draw(network, batch, batch.mels)),
            "val_mouth_wrong_sound": error(self._draw(network, batch, np.roll(batch.mels, 1, axis=0))),
        }
        if np.isfinite(batch.articulation).all():
            measured["val_mouth_known"] = error(self._draw(network, batch, batch.mels, batch.articulation))
        return measured

    @torch.no_grad()
    def sheet(self, network: nn.Module) -> NDArray[np.uint8]:
        """Show, a row each: target, reference, drawn as known, as heard, in silence, with another sound."""
        batch = self._validation(_SHEET_FACES)
        silence = np.full_like(batch.mels, SILENCE)
        known = np.isfinite(batch.articulation).all()
        drawn = [self._draw(network, batch, batch.mels, batch.articulation)] if known else []
        drawn += [self._draw(network, batch, mels) for mels in (batch.mels, silence, np.roll(batch.mels, 1, axis=0))]
        rows = [batch.targets, batch.references]
        rows += [(faces * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy() for faces in drawn]
        return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])

    def export(self, network: nn.Module, path: Path, notes: str) -> None:
        """Write the generator's checkpoint."""
        save_checkpoint(path, network, self._recipe.checkpoint_config(notes))

    def _validation(self, count: int) -> FaceBatch:
        return self._val.faces(np.random.default_rng(VALIDATION_SEED), 0, count)

    def _draw(
        self, network: nn.Module, batch: FaceBatch, mels: NDArray[np.float32], rows: NDArray[np.float32] | None = None
    ) -> Tensor:
        """Draw faces (N,3,S,S), from what is heard or from a known articulation (N,7)."""
        if not isinstance(network, Generator):
            raise TypeError(f"this objective trains generators, not {type(network).__name__}")
        target, reference = to_faces(batch.targets, self._device), to_faces(batch.references, self._device)
        faces = join_faces(target, reference, self._hidden_from)
        if rows is None:
            drawing: Drawing = network(faces, to_mels(mels, self._device))
        else:
            latent, _ = network.hearing(to_mels(mels, self._device))
            drawing = network.draw(faces, latent, normal_articulation(torch.from_numpy(rows).to(self._device)))
        return drawing.compose(known_face(target, reference, self._hidden_from))


def _runs(items: Tensor, count: int) -> Tensor:
    """Take the runs of five from the front of a batch, (N,...) -> (count,5,...)."""
    return items[: count * RUN].reshape(count, RUN, *items.shape[1:])
