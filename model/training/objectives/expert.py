"""Training of the sync expert, which measures whether a mouth and a sound belong to the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.checkpoint import save_expert
from model.network.sync_expert import SyncExpert, SyncExpertConfig, stack_lower_halves
from model.training.batches import Rng, draw_moments, vary_mels
from model.training.clips import RUN, Corpus
from model.training.losses import matching_loss
from model.training.objectives.protocol import VALIDATION_SEED, Terms
from model.training.recipe import Recipe
from model.training.tensors import to_faces, to_sound, vary_faces

_OFFSET_CLIPS, _OFFSET_STRIDE, _MOST_OFFSET = 24, 3, 15


class ExpertObjective:
    """Objective that trains the expert to match mouths with sounds within a clip."""

    helpers: Sequence[nn.Module] = ()

    def __init__(self, recipe: Recipe, train: Corpus, val: Corpus, device: torch.device) -> None:
        self._recipe, self._train, self._val, self._device = recipe, train, val, device
        self.network = SyncExpert(SyncExpertConfig(recipe.network.image_size, recipe.network.width))

    def losses(self, rng: Rng) -> Terms:
        """Draw moments; return the matching loss and the share of mouths that are nearest to their own sound."""
        loss, found = self._match(self.network, self._train, rng, vary=True)
        return {"total": loss, "found": found}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Measure held-out clips: the loss, the share of matches found, and the preference for the own sound.

        val_offset_k, k = 1..15: the share of mouths that are nearer to their own sound than to the sound k frames
        earlier or later.
        """
        expert = _as_expert(network)
        rng = np.random.default_rng(VALIDATION_SEED)
        rounds = [self._match(expert, self._val, rng, vary=False) for _ in range(6)]
        loss, found = (torch.stack(values).mean() for values in zip(*rounds, strict=True))
        clips = rng.permutation(len(self._val))[:_OFFSET_CLIPS]
        shares = torch.stack([self._offset_shares(expert, int(number)) for number in clips]).nanmean(0)
        offsets = {f"val_offset_{k}": float(share) for k, share in enumerate(shares, start=1)}
        return {"val_loss": float(loss), "val_found": float(found), **offsets}

    def sheet(self, network: nn.Module) -> None:
        """Return None: an expert draws nothing."""

    def export(self, network: nn.Module, path: Path, notes: str) -> None:
        """Write the expert; its file has no place for notes."""
        save_expert(path, _as_expert(network))

    def _offset_shares(self, expert: SyncExpert, number: int) -> Tensor:
        """Return, for each offset of 1..15 frames, the share of a clip's mouths nearer to their own sound, (15,)."""
        clip = self._val.clip(number)
        starts = np.arange(0, len(clip.crops) - RUN + 1, _OFFSET_STRIDE)
        faces = to_faces(np.concatenate([clip.crops[start : start + RUN] for start in starts]), self._device)
        face = expert.embed_face(stack_lower_halves(faces.reshape(len(starts), RUN, *faces.shape[1:])))
        audio = expert.embed_audio(to_sound(clip.mels, self._device))
        likeness = face @ audio.T  # (runs, frames)
        middle = torch.from_numpy(starts + RUN // 2).to(self._device)
        own = likeness.gather(1, middle[:, None])[:, 0]
        shares = []
        for offset in range(1, _MOST_OFFSET + 1):
            wins = []
            for place in (middle - offset, middle + offset):
                inside = (place >= 0) & (place < likeness.shape[1])
                other = likeness.gather(1, place.clamp(0, likeness.shape[1] - 1)[:, None])[:, 0]
                wins.append((own > other)[inside])
            shares.append(torch.cat(wins).float().mean())
        return torch.stack(shares).cpu()

    def _match(self, network: SyncExpert, corpus: Corpus, rng: Rng, *, vary: bool) -> tuple[Tensor, Tensor]:
        """Draw moments and match them; vary: change sound and colours at random. Returns as `matching_loss`."""
        batch = draw_moments(corpus, rng, self._recipe.batch.clips, self._recipe.batch.moments)
        clips, moments = batch.mels.shape[:2]
        mels = np.stack([vary_mels(rng, clip) for clip in batch.mels]) if vary else batch.mels
        size = batch.runs.shape[3]
        faces = to_faces(batch.runs.reshape(-1, size, size, 3), self._device)
        if vary:
            faces = vary_faces(rng, [faces], [moments * RUN] * clips)[0]
        halves = stack_lower_halves(faces.reshape(clips * moments, RUN, *faces.shape[1:]))
        audio, face = network(halves, to_sound(mels.reshape(-1, *mels.shape[2:]), self._device))
        return matching_loss(
            audio.reshape(clips, moments, -1), face.reshape(clips, moments, -1), network.log_scale.exp()
        )


def _as_expert(network: nn.Module) -> SyncExpert:
    if not isinstance(network, SyncExpert):
        raise TypeError(f"this objective trains sync experts, not {type(network).__name__}")
    return network
