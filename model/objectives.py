"""What is trained: the sync expert, or the generator with the frozen expert as a judge.

Both offer the same few methods to the one loop in train.py: losses for a step, validation, a picture to look at, and
export. Batches arrive as arrays and become tensors here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.audio import SILENCE
from model.checkpoint import save_checkpoint, save_expert
from model.dataset import RUN, Corpus, FaceBatch, Rng, vary_mels
from model.losses import (
    change_weights,
    edge_loss,
    lips_loss,
    matching_loss,
    motion_loss,
    mouth_loss,
    mouth_weights,
    pixel_loss,
    sync_loss,
)
from model.network.generator import Generator, normal_lips
from model.network.sync_expert import SyncExpert, SyncExpertConfig, stack_lower_halves
from model.perceptual import Lpips
from model.recipe import Recipe
from model.synthesizer import join_faces
from model.tensors import to_faces, to_mels, vary_faces

Terms = dict[str, Tensor]
_VALIDATION_SEED = 20_000_003
_VALIDATION_FACES, _SHEET_FACES = 48, 10


class Objective(Protocol):
    """What the training loop needs."""

    @property
    def network(self) -> nn.Module:
        """Return what is trained."""

    def losses(self, rng: Rng) -> Terms:
        """Draw a batch and return its terms, among them `total`."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Measure a network (in eval mode) on the validation split."""

    def sheet(self, network: nn.Module) -> NDArray[np.uint8] | None:
        """Draw a picture (H,W,3) that shows what a network does, where there is something to see."""

    def export(self, network: nn.Module, path: Path, notes: str) -> None:
        """Write a network as a checkpoint."""


class ExpertObjective:
    """Train the expert to match mouths with sounds within a clip."""

    def __init__(self, recipe: Recipe, train: Corpus, val: Corpus, device: torch.device) -> None:
        self._recipe, self._train, self._val, self._device = recipe, train, val, device
        self.network = SyncExpert(SyncExpertConfig(recipe.network.image_size, recipe.network.width))

    def losses(self, rng: Rng) -> Terms:
        """Draw moments, return the matching loss and the share of mouths that found their sound."""
        loss, found = self._match(self.network, self._train, rng, vary=True)
        return {"total": loss, "found": found}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Measure loss and hit rate over 48 clips of the validation split."""
        expert = _as_expert(network)
        rng = np.random.default_rng(_VALIDATION_SEED)
        rounds = [self._match(expert, self._val, rng, vary=False) for _ in range(6)]
        loss, found = (torch.stack(values).mean() for values in zip(*rounds, strict=True))
        return {"val_loss": float(loss), "val_found": float(found)}

    def sheet(self, network: nn.Module) -> None:
        """Draw nothing: an expert draws nothing."""

    def export(self, network: nn.Module, path: Path, notes: str) -> None:
        """Write the expert."""
        save_expert(path, _as_expert(network))

    def _match(self, network: SyncExpert, corpus: Corpus, rng: Rng, *, vary: bool) -> tuple[Tensor, Tensor]:
        batch = corpus.moments(rng, self._recipe.batch.clips, self._recipe.batch.moments)
        clips, moments = batch.mels.shape[:2]
        mels = np.stack([vary_mels(rng, clip) for clip in batch.mels]) if vary else batch.mels
        size = batch.runs.shape[3]
        faces = to_faces(batch.runs.reshape(-1, size, size, 3), self._device)
        if vary:
            faces = vary_faces(rng, [faces], [moments * RUN] * clips)[0]
        halves = stack_lower_halves(faces.reshape(clips * moments, RUN, *faces.shape[1:]))
        audio, face = network(halves, to_mels(mels.reshape(-1, *mels.shape[2:]), self._device))
        return matching_loss(
            audio.reshape(clips, moments, -1), face.reshape(clips, moments, -1), network.log_scale.exp()
        )


class GeneratorObjective:
    """Train the generator to draw the hidden half, judged by pixels, by eye (LPIPS) and by the expert."""

    def __init__(
        self, recipe: Recipe, train: Corpus, val: Corpus, device: torch.device, expert: SyncExpert | None
    ) -> None:
        self._recipe, self._train, self._val, self._device = recipe, train, val, device
        config = recipe.checkpoint_config("")
        self.network = Generator(recipe.generator_config())
        self._weights = mouth_weights(config.image_size, config.framing).to(device)
        if expert is not None:
            adopt_hearing(self.network, expert)
        self._expert = expert.to(device).requires_grad_(False).eval() if expert else None
        self._lpips = Lpips(recipe.lpips.backbone).to(device) if recipe.losses.lpips else None

    def losses(self, rng: Rng) -> Terms:
        """Draw faces, return every weighted term by name and their total."""
        part = self._recipe.batch
        batch = self._train.faces(rng, part.runs, part.singles, part.others)
        groups = [RUN] * part.runs + [1] * part.singles
        starts = np.cumsum([0, *groups])
        varied = [
            vary_mels(rng, np.concatenate([batch.mels[start : start + length], *batch.others[k : k + 1]]))
            for k, (start, length) in enumerate(zip(starts, groups, strict=False))
        ]
        mels = to_mels(np.concatenate([mel[:length] for mel, length in zip(varied, groups, strict=True)]), self._device)
        target, reference = vary_faces(
            rng, [to_faces(batch.targets, self._device), to_faces(batch.references, self._device)], groups
        )
        latent, heard = self.network.listen(mels)
        known = self._known_lips(rng, batch.lips) if self._recipe.losses.lips else torch.full_like(heard, torch.nan)
        lips = torch.where(known.isfinite(), known, heard)
        shown, drawn = self.network.draw(join_faces(target, reference), latent, lips)
        others = [to_mels(mel[RUN:], self._device) for mel in varied[: part.runs]]
        terms = self._terms(shown, target, mels, others)
        changed = change_weights(target, reference, self._weights)
        terms |= {"mouth": mouth_loss(shown, target, changed), "behind": mouth_loss(drawn, target, changed)}
        if self._recipe.losses.lips:
            terms["lips"] = self._listening(rng)
        weights = self._recipe.losses
        total = sum(
            (getattr(weights, name) * term for name, term in terms.items()), torch.zeros((), device=self._device)
        )
        return {"total": total, **terms}

    def _known_lips(self, rng: Rng, lips: NDArray[np.float32]) -> Tensor:
        """Return the normal lips of a share of the batch, not a number for the others and where no label is."""
        hidden = rng.random((len(lips), 1)) >= self._recipe.batch.known_lips
        shown = torch.from_numpy(np.where(hidden, np.float32(np.nan), lips)).to(self._device)
        return normal_lips(shown)

    def _listening(self, rng: Rng) -> Tensor:
        """Draw speech and return how far the lips heard are from the labels."""
        part = self._recipe.batch
        speech = self._train.speech(rng, part.speech_clips, part.speech_moments)
        mels = np.concatenate([vary_mels(rng, mel) for mel, _ in speech])
        _, heard = self.network.listen(to_mels(mels, self._device))
        return lips_loss(heard, normal_lips(torch.from_numpy(np.concatenate([lips for _, lips in speech])).to(heard)))

    def _terms(self, drawn: Tensor, target: Tensor, mels: Tensor, others: list[Tensor]) -> Terms:
        weights, place = self._recipe.losses, self._weights
        terms = {"l1": pixel_loss(drawn, target)}
        if weights.edges:
            terms["edges"] = edge_loss(drawn, target, place)
        if self._lpips is not None:
            half = target.shape[2] // 2  # the upper half is given
            terms["lpips"] = self._lpips(drawn[:, :, half:], target[:, :, half:])
        if not others:
            return terms
        runs = _runs(drawn, len(others))
        if weights.motion:
            terms["motion"] = motion_loss(runs, _runs(target, len(others)), place)
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
        """Measure the mouth's error with its own sound, with another's, and with its own lips known.

        The gap between the first two is what the sound is worth, between the first and the last what better hearing
        could bring.
        """
        batch = self._validation(_VALIDATION_FACES)
        ways = {
            "val_mouth": self._draw(network, batch, batch.mels),
            "val_mouth_wrong_sound": self._draw(network, batch, np.roll(batch.mels, 1, axis=0)),
        }
        if np.isfinite(batch.lips).all():
            ways["val_mouth_known_lips"] = self._draw(network, batch, batch.mels, batch.lips)
        target = to_faces(batch.targets, self._device)
        return {name: float(mouth_loss(drawn, target, self._weights)) for name, drawn in ways.items()}

    @torch.no_grad()
    def sheet(self, network: nn.Module) -> NDArray[np.uint8]:
        """Show, a row each: target, reference, drawn, drawn in silence, drawn with another sound."""
        batch = self._validation(_SHEET_FACES)
        rows = [batch.targets, batch.references]
        silence = np.full_like(batch.mels, SILENCE)
        for mels in (batch.mels, silence, np.roll(batch.mels, 1, axis=0)):
            drawn = self._draw(network, batch, mels)
            rows.append((drawn * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])

    def export(self, network: nn.Module, path: Path, notes: str) -> None:
        """Write the generator's checkpoint."""
        save_checkpoint(path, network, self._recipe.checkpoint_config(notes))

    def _validation(self, count: int) -> FaceBatch:
        return self._val.faces(np.random.default_rng(_VALIDATION_SEED), 0, count)

    def _draw(
        self,
        network: nn.Module,
        batch: FaceBatch,
        mels: NDArray[np.float32],
        lips: NDArray[np.float32] | None = None,
    ) -> Tensor:
        faces = join_faces(to_faces(batch.targets, self._device), to_faces(batch.references, self._device))
        known = None if lips is None else normal_lips(torch.from_numpy(lips).to(self._device))
        drawn: Tensor = network(faces, to_mels(mels, self._device), known).float()
        return drawn


@torch.no_grad()
def adopt_hearing(generator: Generator, expert: SyncExpert) -> None:
    """Start the generator's audio encoder from the expert's, which has already learned what sound says of lips.

    Attention, which the expert has not, keeps its open start; the latent's further entries keep theirs.
    """
    own = generator.audio.state_dict()
    for name, tensor in expert.audio.state_dict().items():
        place = own[name][: len(tensor)] if tensor.ndim else own[name]
        if place.shape == tensor.shape:
            place.copy_(tensor)


def _as_expert(network: nn.Module) -> SyncExpert:
    if not isinstance(network, SyncExpert):
        raise TypeError(f"this objective trains sync experts, not {type(network).__name__}")
    return network


def _runs(items: Tensor, count: int) -> Tensor:
    """Take the runs of five from the front of a batch, (N,...) -> (count,5,...)."""
    return items[: count * RUN].reshape(count, RUN, *items.shape[1:])
