"""Train hearing: what does a mouth do while this is heard?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.arrays import F32, F64
from model.audio import MEL_BANDS, SILENCE
from model.checkpoint import save_hearing
from model.corpus.speech.articulation import Channel
from model.network.hearing import Hearing, HearingConfig, normal_articulation
from model.training.clips import Rng, vary_mels
from model.training.losses import heard_loss
from model.training.objectives.protocol import VALIDATION_SEED, Terms
from model.training.recipe import Recipe
from model.training.tensors import to_mels
from model.training.voices import Voices

_VALIDATION_VOICES = 60
_NAMES = tuple(channel.name.lower() for channel in Channel)


class HearingObjective:
    """Train hearing on moments of many voices."""

    helpers: Sequence[nn.Module] = ()

    def __init__(self, recipe: Recipe, train: Voices, val: Voices, device: torch.device) -> None:
        self._recipe, self._train, self._val, self._device = recipe, train, val, device
        self._columns = recipe.checkpoint_config("").mel_window.columns
        self.network = Hearing(HearingConfig())

    def losses(self, rng: Rng) -> Terms:
        """Draw moments, return how far what is heard is from what was said."""
        part = self._recipe.batch
        drawn = self._train.moments(rng, part.voices, part.voice_moments)
        mels = np.concatenate([vary_mels(rng, mel) for mel, _ in drawn])
        rows = torch.from_numpy(np.concatenate([rows for _, rows in drawn])).to(self._device)
        _, heard = self.network(to_mels(mels, self._device))
        return {"total": heard_loss(heard.float(), normal_articulation(rows))}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Correlate each channel heard with what was said, the median over held-out voices; calibrate."""
        hearing = _as_hearing(network)
        chosen = np.random.default_rng(VALIDATION_SEED).permutation(len(self._val.folders))[:_VALIDATION_VOICES]
        pairs = [self._listen(hearing, int(number)) for number in chosen]
        _, silence = hearing(torch.full((1, 1, MEL_BANDS, self._columns), SILENCE, device=self._device))
        hearing.calibrate(
            torch.cat([heard for heard, _ in pairs]), torch.cat([known for _, known in pairs]), silence[0].float()
        )
        values = np.array([_correlations(heard.numpy(), known.numpy()) for heard, known in pairs])
        return {f"val_{name}_r": _median(values[:, k]) for k, name in enumerate(_NAMES)}

    def sheet(self, network: nn.Module) -> None:
        """Draw nothing: hearing draws nothing."""

    def export(self, network: nn.Module, path: Path, notes: str) -> None:
        """Write the hearing."""
        save_hearing(path, _as_hearing(network))

    def _listen(self, hearing: Hearing, number: int) -> tuple[Tensor, Tensor]:
        """Return the normal articulation heard and known in every frame of a held-out voice."""
        voice = self._val.voice(number)
        mels, rows = self._val.at(voice, np.arange(len(voice.rows)))
        _, heard = hearing(to_mels(mels, self._device))
        return heard.float().cpu(), normal_articulation(torch.from_numpy(rows))


def _correlations(heard: F32, known: F32) -> list[float]:
    """Correlate channel by channel, (T,7) twice; 0 where nothing moves that is heard, not a number where all rests."""
    values = []
    for one, other in zip(heard.T, known.T, strict=True):
        moves = one.std() > 1e-6 and other.std() > 1e-3
        values.append(float(np.corrcoef(one, other)[0, 1]) if moves else 0.0 if other.std() > 1e-3 else float("nan"))
    return values


def _median(values: F64) -> float:
    """Return the median of what is a number, 0 where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else 0.0


def _as_hearing(network: nn.Module) -> Hearing:
    if not isinstance(network, Hearing):
        raise TypeError(f"this objective trains hearing, not {type(network).__name__}")
    return network
