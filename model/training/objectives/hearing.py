"""Training of hearing, the network that predicts the articulation from sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.arrays import F32, F64
from model.articulation import Channel
from model.audio import MEL_BANDS, SILENCE
from model.checkpoint import save_hearing
from model.network.hearing import Hearing, HearingConfig, normal_articulation
from model.training.batches import Rng, vary_mels
from model.training.losses import articulation_loss
from model.training.objectives.protocol import VALIDATION_SEED, Terms
from model.training.recipe import Recipe
from model.training.tensors import to_mels
from model.training.voices import Voices

_VALIDATION_VOICES = 60
_NAMES = tuple(channel.name.lower() for channel in Channel)


class HearingObjective:
    """Objective that trains hearing on moments of many voices."""

    helpers: Sequence[nn.Module] = ()

    def __init__(self, recipe: Recipe, train: Voices, val: Voices, device: torch.device) -> None:
        self._recipe, self._train, self._val, self._device = recipe, train, val, device
        self._columns = recipe.checkpoint_config("").mel_window.columns
        self.network = Hearing(HearingConfig())

    def losses(self, rng: Rng) -> Terms:
        """Draw moments; return the error of the predicted articulation."""
        part = self._recipe.batch
        drawn = self._train.draw_moments(rng, part.voices, part.voice_moments)
        mels = np.concatenate([vary_mels(rng, mel) for mel, _ in drawn])
        rows = torch.from_numpy(np.concatenate([rows for _, rows in drawn])).to(self._device)
        _, predicted = self.network(to_mels(mels, self._device))
        return {"total": articulation_loss(predicted.float(), normal_articulation(rows))}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Calibrate the network; return the correlation of each predicted channel, the median over held-out voices."""
        hearing = _as_hearing(network)
        chosen = np.random.default_rng(VALIDATION_SEED).permutation(len(self._val.folders))[:_VALIDATION_VOICES]
        pairs = [self._predict(hearing, int(number)) for number in chosen]
        _, silence = hearing(torch.full((1, 1, MEL_BANDS, self._columns), SILENCE, device=self._device))
        predicted, known = (torch.cat(rows) for rows in zip(*pairs, strict=True))
        hearing.calibrate(predicted, known, silence[0].float())
        values = np.array([_correlations(ours.numpy(), theirs.numpy()) for ours, theirs in pairs])
        return {f"val_{name}_r": _median(values[:, k]) for k, name in enumerate(_NAMES)}

    def sheet(self, network: nn.Module) -> None:
        """Return None: hearing draws nothing."""

    def export(self, network: nn.Module, path: Path, notes: str) -> None:
        """Write the hearing network; its file has no place for notes."""
        save_hearing(path, _as_hearing(network))

    def _predict(self, hearing: Hearing, number: int) -> tuple[Tensor, Tensor]:
        """Return the predicted and the known normal articulation of a held-out voice, (T,7) each."""
        voice = self._val.voice(number)
        mels, rows = self._val.at(voice, np.arange(len(voice.rows)))
        _, predicted = hearing(to_mels(mels, self._device))
        return predicted.float().cpu(), normal_articulation(torch.from_numpy(rows))


def _correlations(predicted: F32, known: F32) -> list[float]:
    """Correlate channel by channel, (T,7) twice.

    A channel that is known to rest has NaN. A channel that is known to move, but is predicted to rest, has 0.
    """
    values = []
    for ours, theirs in zip(predicted.T, known.T, strict=True):
        if theirs.std() <= 1e-3:
            values.append(float("nan"))
        else:
            values.append(float(np.corrcoef(ours, theirs)[0, 1]) if ours.std() > 1e-6 else 0.0)
    return values


def _median(values: F64) -> float:
    """Return the median of the values that are not NaN, 0 if all are."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else 0.0


def _as_hearing(network: nn.Module) -> Hearing:
    if not isinstance(network, Hearing):
        raise TypeError(f"this objective trains hearing, not {type(network).__name__}")
    return network
