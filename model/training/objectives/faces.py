"""The part of training that all networks that draw faces share: varied batches, loss terms, validation, sample sheet.

The loss compares pixels, and it may use other networks: LPIPS for the look of a picture, the sync expert for the match
of mouth and sound and, for an ablation, a critic that is trained at the same time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.arrays import F32, U8
from model.checkpoint import save_checkpoint
from model.network.critic import Critic, reverse_gradient
from model.network.sync_expert import SyncExpert, stack_lower_halves
from model.sound import silent_window
from model.training.batches import FaceBatch, Rng, draw_faces, vary_mels
from model.training.clips import RUN, Corpus
from model.training.losses import (
    change_weights,
    critic_loss,
    edge_loss,
    motion_loss,
    mouth_loss,
    mouth_weights,
    pixel_loss,
    sync_loss,
)
from model.training.objectives.protocol import VALIDATION_SEED, Terms
from model.training.perceptual import Lpips
from model.training.recipe import Recipe
from model.training.tensors import to_faces, to_sound, vary_faces

_VALIDATION_FACES, _SHEET_FACES = 48, 10


@dataclass(frozen=True)
class LossNetworks:
    """Networks with fixed weights that a loss uses; None if the recipe leaves their term out."""

    expert: SyncExpert | None = None
    lpips: Lpips | None = None


@dataclass(frozen=True)
class Scene:
    """Batch as tensors, with random changes of sound and colour.

    sound: what the drawing network hears, (N,1,rows,columns), see model/sound.py; mels (N,1,80,32) in -4..4; target and
    reference (N,3,S,S) in 0..1; changed (N,1,S,S): weight of each place, see `change_weights`.
    """

    batch: FaceBatch
    sound: Tensor
    mels: Tensor
    target: Tensor
    reference: Tensor
    changed: Tensor


class FacesObjective(ABC):
    """Objective of a network that draws faces; see the module."""

    def __init__(
        self,
        recipe: Recipe,
        train: Corpus,
        val: Corpus,
        device: torch.device,
        network: nn.Module,
        loss_networks: LossNetworks,
    ) -> None:
        self.network = network
        self._recipe, self._train, self._val, self._device = recipe, train, val, device
        config = recipe.checkpoint_config("")
        self._hidden_from = config.framing.hidden_from
        self._weights = mouth_weights(config.image_size, config.framing).to(device)
        expert, lpips = loss_networks.expert, loss_networks.lpips
        self._expert = None if expert is None else expert.to(device).requires_grad_(False).eval()
        self._lpips = None if lpips is None else lpips.to(device)
        self._silence = silent_window(train.reader)
        self._critic = Critic() if recipe.losses.adversarial else None

    @property
    def helpers(self) -> Sequence[nn.Module]:
        """Return the critic, if there is one."""
        return () if self._critic is None else (self._critic,)

    @abstractmethod
    def draw_scene(self, rng: Rng, scene: Scene) -> tuple[Tensor, Terms]:
        """Draw a batch in training mode; return the faces (N,3,S,S) in 0..1 and the terms of this network alone."""

    @abstractmethod
    def drawn(self, network: nn.Module, batch: FaceBatch, sound: F32) -> Tensor:
        """Draw a batch as in serving, with sound (N,rows,columns) in place of its own. Returns (N,3,S,S) in 0..1."""

    def losses(self, rng: Rng) -> Terms:
        """Draw faces; return every term by name, and their weighted total."""
        part = self._recipe.batch
        batch = draw_faces(self._train, rng, part.runs, part.singles, part.others)
        groups = [RUN] * part.runs + [1] * part.singles
        mels, others = self._vary_sound(rng, batch, groups)
        pixels = [to_faces(batch.targets, self._device), to_faces(batch.references, self._device)]
        target, reference = vary_faces(rng, pixels, groups)
        sound = mels if batch.features is None else to_sound(batch.features, self._device)
        scene = Scene(batch, sound, mels, target, reference, change_weights(target, reference, self._weights))
        faces, terms = self.draw_scene(rng, scene)
        terms = {
            "mouth": mouth_loss(faces, target, scene.changed),
            **terms,
            **self._picture_terms(faces, target),
            **self._run_terms(faces, target, mels, others),
        }
        weights = self._recipe.losses
        total = sum(
            (getattr(weights, name) * term for name, term in terms.items()), torch.zeros((), device=self._device)
        )
        return {"total": total, **terms}

    def _vary_sound(self, rng: Rng, batch: FaceBatch, groups: list[int]) -> tuple[Tensor, list[Tensor]]:
        """Vary the sound, in the same way within a group.

        Returns the mels of all faces, (N,1,80,32), and for each run those of its other moments, (K,1,80,32).
        """
        starts = np.cumsum([0, *groups])
        varied = [
            vary_mels(rng, np.concatenate([batch.mels[start : start + length], *batch.others[k : k + 1]]))
            for k, (start, length) in enumerate(zip(starts, groups, strict=False))
        ]
        own = np.concatenate([mel[:length] for mel, length in zip(varied, groups, strict=True)])
        return to_sound(own, self._device), [to_sound(mel[RUN:], self._device) for mel in varied[: batch.runs]]

    def _picture_terms(self, faces: Tensor, target: Tensor) -> Terms:
        """Return the terms that compare single pictures."""
        weights = self._recipe.losses
        terms = {"l1": pixel_loss(faces, target)}
        if weights.edges:
            terms["edges"] = edge_loss(faces, target, self._weights)
        size = target.shape[2]
        # Rows above are given, and columns at the sides show no face.
        row, column = round(size * self._hidden_from), size // 6
        drawn, filmed = (face[:, :, row:, column:-column] for face in (faces, target))
        if self._lpips is not None:
            every = self._recipe.lpips.every
            terms["lpips"] = self._lpips(drawn[::every], filmed[::every])
        if self._critic is not None:
            # Both in one pass, because spectral norm changes the critic a little at every pass.
            scores = self._critic(torch.cat([filmed, reverse_gradient(drawn.to(filmed.dtype))]))
            terms["adversarial"] = critic_loss(*scores.chunk(2))
        return terms

    def _run_terms(self, faces: Tensor, target: Tensor, mels: Tensor, others: list[Tensor]) -> Terms:
        """Return the terms of runs of five consecutive frames: their motion, and their match with the sound."""
        weights, terms = self._recipe.losses, Terms()
        if not others:
            return terms
        runs = _runs(faces, len(others))
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
        """Measure the mouth's error with its own sound and with another face's sound.

        The difference of the two shows how much the network uses the sound.
        """
        batch = self._held_out(_VALIDATION_FACES)
        target = to_faces(batch.targets, self._device)
        sound = heard_in(batch)
        drawings = {"val_mouth": self.drawn(network, batch, sound)}
        drawings["val_mouth_wrong_sound"] = self.drawn(network, batch, np.roll(sound, 1, axis=0))
        drawings |= {f"val_mouth_{name}": faces for name, faces in self.drawn_from_labels(network, batch).items()}
        return {name: float(mouth_loss(faces, target, self._weights)) for name, faces in drawings.items()}

    def drawn_from_labels(self, network: nn.Module, batch: FaceBatch) -> dict[str, Tensor]:
        """Draw a batch from its labels besides its sound, by name; empty for a network that takes the sound only."""
        return {}

    @torch.no_grad()
    def sheet(self, network: nn.Module) -> U8:
        """Draw the sample sheet, one face per column.

        Rows: target, reference, drawn from labels (if the batch has them), from its own sound, from silence, and from
        another face's sound.
        """
        batch = self._held_out(_SHEET_FACES)
        sound = heard_in(batch)
        sounds = (sound, np.broadcast_to(self._silence, sound.shape), np.roll(sound, 1, axis=0))
        from_labels = self.drawn_from_labels(network, batch).values()
        drawn = [*from_labels, *(self.drawn(network, batch, one) for one in sounds)]
        rows = [batch.targets, batch.references]
        rows += [(faces * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy() for faces in drawn]
        return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])

    def export(self, network: nn.Module, path: Path, notes: str) -> None:
        """Write the checkpoint."""
        save_checkpoint(path, network, self._recipe.checkpoint_config(notes))

    def _held_out(self, count: int) -> FaceBatch:
        """Draw faces from the validation split, the same at every call."""
        return draw_faces(self._val, np.random.default_rng(VALIDATION_SEED), 0, count)


def heard_in(batch: FaceBatch) -> F32:
    """Return what a network hears in a batch, (N,rows,columns): features of a speech encoder if there are any."""
    return batch.mels if batch.features is None else batch.features


def _runs(items: Tensor, count: int) -> Tensor:
    """Take the runs of five from the front of a batch, (N,...) -> (count,5,...)."""
    return items[: count * RUN].reshape(count, RUN, *items.shape[1:])
