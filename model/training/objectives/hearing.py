"""Training of hearing, the network that predicts the articulation from sound, on synthetic and on filmed voices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.arrays import F32, F64
from model.articulation import Channel
from model.checkpoint import save_hearing
from model.network.hearing import Hearing, HearingConfig, normal_articulation
from model.sound import silent_window
from model.training.batches import Rng, vary_mels
from model.training.losses import articulation_loss
from model.training.objectives.protocol import VALIDATION_SEED, Terms
from model.training.recipe import Recipe
from model.training.tensors import to_sound
from model.training.voices import Voices

_VALIDATION_VOICES = 60
_NAMES = tuple(channel.name.lower() for channel in Channel)


@dataclass(frozen=True)
class HearingVoices:
    """Voices of both splits. filmed: those of real speakers, None without any."""

    train: Voices
    val: Voices
    filmed_train: Voices | None = None
    filmed_val: Voices | None = None


class HearingObjective:
    """Objective that trains hearing on moments of many voices."""

    helpers: Sequence[nn.Module] = ()

    def __init__(self, recipe: Recipe, voices: HearingVoices, device: torch.device) -> None:
        self._recipe, self._voices, self._device = recipe, voices, device
        self._silence = silent_window(voices.train.reader)
        self.network = Hearing(HearingConfig(speech_encoder=recipe.network.speech_encoder))

    def losses(self, rng: Rng) -> Terms:
        """Draw moments; return the error of the predicted articulation."""
        part, voices = self._recipe.batch, self._voices
        filmed = 0 if voices.filmed_train is None else round(part.voices * part.filmed)
        drawn = voices.train.draw_moments(rng, part.voices - filmed, part.voice_moments)
        if voices.filmed_train is not None:
            drawn += voices.filmed_train.draw_moments(rng, filmed, part.voice_moments)
        hears_mels = not self._recipe.network.speech_encoder
        sound = np.concatenate([vary_mels(rng, window) if hears_mels else window for window, _ in drawn])
        rows = torch.from_numpy(np.concatenate([rows for _, rows in drawn])).to(self._device)
        _, predicted = self.network(to_sound(sound, self._device))
        return {"total": articulation_loss(predicted.float(), normal_articulation(rows))}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Calibrate the network; return the correlation of each predicted channel, the median over held-out voices.

        For filmed voices that are held out: the correlation of aperture and width with the film.
        """
        hearing, val = _as_hearing(network), self._voices.val
        chosen = np.random.default_rng(VALIDATION_SEED).permutation(len(val.folders))[:_VALIDATION_VOICES]
        pairs = [self._predict(hearing, val, int(number)) for number in chosen]
        _, silence = hearing(to_sound(self._silence[None], self._device))
        predicted, known = (torch.cat(rows) for rows in zip(*pairs, strict=True))
        hearing.calibrate(predicted, known, silence[0].float())
        values = np.array([_correlations(ours.numpy(), theirs.numpy()) for ours, theirs in pairs])
        found = {f"val_{name}_r": _median(values[:, k]) for k, name in enumerate(_NAMES)}
        filmed = self._voices.filmed_val
        if filmed is not None:
            pairs = [self._predict(hearing, filmed, number) for number in range(len(filmed.folders))]
            values = np.array([_correlations(ours[:, :2].numpy(), theirs[:, :2].numpy()) for ours, theirs in pairs])
            found |= {f"val_filmed_{_NAMES[k]}_r": _median(values[:, k]) for k in range(2)}
        return found

    def sheet(self, network: nn.Module) -> None:
        """Return None: hearing draws nothing."""

    def export(self, network: nn.Module, path: Path, notes: str) -> None:
        """Write the hearing network; its file has no place for notes."""
        save_hearing(path, _as_hearing(network))

    def _predict(self, hearing: Hearing, voices: Voices, number: int) -> tuple[Tensor, Tensor]:
        """Return the predicted and the known normal articulation of a held-out voice, (T,7) each."""
        voice = voices.voice(number)
        sound, rows = voices.at(voice, np.arange(len(voice.rows)))
        _, predicted = hearing(to_sound(sound, self._device))
        return predicted.float().cpu(), normal_articulation(torch.from_numpy(rows))


def _correlations(predicted: F32, known: F32) -> list[float]:
    """Correlate channel by channel, (T,C) twice.

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
