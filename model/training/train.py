"""The training loop, the same for hearing, the sync expert and the generator.

A run is a folder: `state.pt` (everything needed to continue after the process was killed at any moment), `log.csv`,
`tensorboard/`, `sheet_*.png`, and the exported checkpoint of the averaged weights. Random numbers depend only on the
seed and the number of the step, so a resumed run follows the same curve as an uninterrupted one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from model.audio import AROUND_FRAME
from model.checkpoint import load_expert, load_hearing, load_network
from model.errors import RecipeError, TrainingError
from model.network.hearing import CALIBRATED
from model.network.sync_expert import SyncExpert
from model.runtimes.devices import DTYPES, choose_device, choose_precision
from model.sound import EncoderReader, MelReader
from model.speech_encoder.port import SpeechEncoder
from model.speech_encoder.sources import load_encoder
from model.training.clips import Corpus
from model.training.objectives.baseline import BaselineObjective
from model.training.objectives.expert import ExpertObjective
from model.training.objectives.faces import LossNetworks
from model.training.objectives.generator import GeneratorObjective
from model.training.objectives.hearing import HearingObjective, HearingVoices
from model.training.objectives.protocol import Objective
from model.training.perceptual import load_lpips
from model.training.recipe import Recipe
from model.training.run_log import Curves
from model.training.run_state import (
    STATE,
    RunState,
    TrainingProgress,
    fixed_choices,
    remove_state,
)
from model.training.voices import Voices

_FINAL_RATE = 0.02  # of the learning rate, at the end
_CLIP_NORM = 5.0


@dataclass(frozen=True)
class TrainingSources:
    """Files that a run uses besides its corpus: networks that were trained before, and films.

    expert: the exported sync expert; a generator needs it if losses.sync is not 0. hearing: the exported hearing
    network, which a generator keeps as it is; without one, hearing is trained together with the drawing. encoder:
    folder of the speech encoder that the recipe names; None: the one of the installed package. start: checkpoint whose
    drawing a generator continues, with the hearing given here. filmed: folder of prepared films, from whose lips
    hearing learns too.
    """

    expert: Path | None = None
    hearing: Path | None = None
    encoder: Path | None = None
    start: Path | None = None
    filmed: Path | None = None


def train(
    recipe: Recipe,
    corpus_dir: Path,
    run_dir: Path,
    sources: TrainingSources | None = None,
    *,
    minutes: float | None = None,
    resume: bool = True,
    log: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train until the recipe's steps or the minutes are over; return the path of the exported checkpoint.

    minutes: of all starts together. resume: continue the run of the folder, if there is one. `log` gets sentences for
    the user. Raises CorpusError, RecipeError, CheckpointError and BackboneError for files that cannot be used, and
    TrainingError for an absent device, a folder that cannot be written, a loss that is not finite or a state of another
    recipe.
    """
    sources = sources or TrainingSources()
    if recipe.run.threads:
        torch.set_num_threads(recipe.run.threads)
    try:
        device = torch.device(choose_device(recipe.run.device))
        precision = choose_precision(recipe.run.precision, device.type)
        run_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise TrainingError(str(error)) from error
    torch.manual_seed(recipe.run.seed)
    objective = _objective(recipe, corpus_dir, device, sources)
    fixed = fixed_choices(recipe, given_hearing=sources.hearing is not None, given_films=sources.filmed is not None)
    run = _Run(recipe, objective, run_dir, device, precision, minutes, fixed)
    if resume and (run_dir / STATE).is_file():
        run.state.restore(run_dir, fixed)
    else:
        remove_state(run_dir)  # or else, if this run is killed before its first save, the older run would be resumed
    return run.go(log)


def _objective(recipe: Recipe, corpus_dir: Path, device: torch.device, sources: TrainingSources) -> Objective:
    """Open the corpus, load the networks trained before, and build the recipe's objective."""
    _check_sources(recipe, sources)
    size, name = recipe.network.image_size, recipe.network.speech_encoder
    encoder = load_encoder(name, sources.encoder) if name else None
    if recipe.run.objective == "hearing":
        return HearingObjective(recipe, _hearing_voices(corpus_dir, sources.filmed, encoder), device)
    clips, held_out = (Corpus.open(corpus_dir, split, size, AROUND_FRAME, encoder) for split in ("train", "val"))
    if recipe.run.objective == "expert":
        return ExpertObjective(recipe, clips, held_out, device)
    expert = _loaded_expert(recipe, sources.expert)
    lpips = load_lpips(recipe.lpips.backbone, recipe.lpips.stages) if recipe.losses.lpips else None
    loss_networks = LossNetworks(expert, lpips)
    if recipe.network.architecture == "wav2lip":
        return BaselineObjective(recipe, clips, held_out, device, loss_networks)
    hearing = load_hearing(sources.hearing) if sources.hearing is not None else None
    if hearing is not None and hearing.config.speech_encoder != name:
        heard = hearing.config.speech_encoder or "mels"
        raise RecipeError(f"the hearing network was trained on {heard}, the recipe asks for {name or 'mels'}")
    objective = GeneratorObjective(recipe, clips, held_out, device, loss_networks, hearing)
    if sources.start is not None:
        objective.continue_drawing(load_network(sources.start)[1])
    return objective


def _check_sources(recipe: Recipe, sources: TrainingSources) -> None:
    """Raise RecipeError for files that the recipe has no place for."""
    objective, architecture = recipe.run.objective, recipe.network.architecture
    if sources.filmed is not None and objective != "hearing":
        raise RecipeError(f"only hearing learns from films: leave them out for {objective}")
    if objective == "generator" and architecture == "wav2lip" and sources.hearing is not None:
        raise RecipeError(
            "network.architecture wav2lip has no place for a trained hearing network: leave the hearing out"
        )
    if sources.start is None:
        return
    if objective != "generator" or architecture == "wav2lip":
        what = objective if objective != "generator" else architecture
        raise RecipeError(f"only our own generator can continue a drawing: leave the start out for {what}")
    if sources.hearing is None:
        raise RecipeError("to continue a drawing, name its hearing too")


def _hearing_voices(corpus_dir: Path, filmed_dir: Path | None, encoder: SpeechEncoder | None) -> HearingVoices:
    """Open the voices of a corpus, and those of prepared films if there are any."""
    reader = MelReader(AROUND_FRAME) if encoder is None else EncoderReader(encoder)
    train, val = (Voices.open(corpus_dir, split, reader) for split in ("train", "val"))
    if filmed_dir is None:
        return HearingVoices(train, val)
    filmed = (Voices.open_filmed(filmed_dir, split, reader) for split in ("train", "val"))
    return HearingVoices(train, val, *filmed)


def _loaded_expert(recipe: Recipe, path: Path | None) -> SyncExpert | None:
    """Load the sync expert, if one is given. Raises RecipeError if it is missing or of another size."""
    if path is None:
        if recipe.losses.sync:
            raise RecipeError("losses.sync needs a trained expert: train one first and name its file")
        return None
    expert, size = load_expert(path), recipe.network.image_size
    if expert.config.image_size != size:
        raise RecipeError(f"the expert is for {expert.config.image_size} px, the recipe for {size} px")
    return expert


class _Run:
    """One start of a run: the training loop and the state that it changes."""

    def __init__(
        self,
        recipe: Recipe,
        objective: Objective,
        folder: Path,
        device: torch.device,
        precision: str,
        minutes: float | None,
        fixed: Mapping[str, object],
    ) -> None:
        self.recipe, self.objective, self.folder, self.minutes = recipe, objective, folder, minutes
        self.fixed = fixed
        network = objective.network.to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(network).requires_grad_(False).eval()
        helpers = nn.ModuleList(objective.helpers).to(device)
        if recipe.run.compile and device.type == "cuda":  # on a CPU it takes minutes and saves seconds
            compile_parts(network)
        learned = [*network.parameters(), *helpers.parameters()]
        optimizer = torch.optim.AdamW(
            learned, recipe.run.learning_rate, (0.9, 0.98), weight_decay=recipe.run.weight_decay
        )
        scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.state = RunState(network, average, helpers, optimizer, scaler, TrainingProgress())
        self.autocast = torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")

    def go(self, log: Callable[[str], None]) -> Path:
        """Take steps until the end, then export."""
        run, state, started_s = self.recipe.run, self.state, time.monotonic() - self.state.progress.elapsed_s
        exported = self.folder / f"{run.objective}.safetensors"
        # Nothing left to train. The run may have been killed before its last export, or a recipe with fewer steps may
        # end it before its first calibration.
        if self.share_done() >= 1:
            self.validate()
            self.objective.export(state.average, exported, f"{state.progress.step} steps")
            return exported
        with (
            closing(self.curves(log)) as curves,
            tqdm(
                total=None if self.minutes else run.steps,
                initial=state.progress.step,
                desc=run.objective,
                dynamic_ncols=True,
            ) as bar,
        ):
            shown: dict[str, str] = {}
            while self.share_done() < 1:
                step_started_s = time.monotonic()
                terms = self.step()
                crops_per_s = self.recipe.crops_per_step / (time.monotonic() - step_started_s)
                state.progress.step += 1
                state.progress.elapsed_s = time.monotonic() - started_s
                last = self.share_done() >= 1
                if last or state.progress.step % run.validate_every == 0:
                    terms |= self.validate()
                    shown = {name: f"{value:.4f}" for name, value in terms.items()}
                pace = {"crops/s": f"{crops_per_s:.0f}"}
                if self.minutes:
                    pace["min left"] = f"{max(0.0, self.minutes - state.progress.elapsed_s / 60):.1f}"
                bar.set_postfix({**pace, **shown}, refresh=False)
                bar.update()
                rate = state.optimizer.param_groups[0]["lr"]
                curves.write(state.progress.step, state.progress.elapsed_s, rate, crops_per_s, terms)
                if last or state.progress.step % run.save_every == 0:
                    curves.flush()
                    state.save(self.folder, self.fixed)
                    self.objective.export(state.average, exported, f"{state.progress.step} steps")
        return exported

    def curves(self, log: Callable[[str], None]) -> Curves:
        """Open the curves. Raises TrainingError if another file lies in their place."""
        try:
            return Curves.open(self.folder, self.state.progress.step, log)
        except (OSError, ValueError, KeyError) as error:
            raise TrainingError(f"{self.folder} cannot hold the curves ({error}); choose another folder") from error

    def share_done(self) -> float:
        """Return the finished share of the run, by steps or by the clock, whichever is larger."""
        progress = self.state.progress
        by_step = progress.step / self.recipe.run.steps
        return max(by_step, progress.elapsed_s / (60 * self.minutes)) if self.minutes else by_step

    def step(self) -> dict[str, float]:
        """Take one step; return its terms. Raises TrainingError for a loss or a gradient that is not finite."""
        run, state, number = self.recipe.run, self.state, self.state.progress.step
        torch.manual_seed(run.seed + number)  # so that a resumed run gets the same random numbers
        warm = min(1.0, (number + 1) / max(1, run.warmup_steps))
        late = max(0.0, self.share_done() - run.decay_from) / (1 - run.decay_from) if run.decay_from < 1 else 0.0
        for group in state.optimizer.param_groups:
            group["lr"] = run.learning_rate * warm * (1 - (1 - _FINAL_RATE) * late)
        state.network.train()
        state.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            terms = self.objective.losses(np.random.default_rng((run.seed, number)))
        if not bool(torch.isfinite(terms["total"])):
            raise TrainingError(f"the loss of step {number} is not finite; resume with a lower learning rate")
        state.scaler.scale(terms["total"]).backward()  # type: ignore[no-untyped-call]
        state.scaler.unscale_(state.optimizer)
        # Each network has a norm of its own, so that a large gradient of one does not slow the others down.
        parts = [state.network, *state.helpers]
        norm = sum(torch.nn.utils.clip_grad_norm_(part.parameters(), _CLIP_NORM) for part in parts)
        if not state.scaler.is_enabled() and not math.isfinite(norm):  # an enabled scaler skips such a step
            raise TrainingError(f"the gradient of step {number} is not finite; resume with a lower learning rate")
        state.scaler.step(state.optimizer)
        state.scaler.update()
        follow(state.average, state.network, min(run.ema_decay, (1 + number) / (10 + number)))
        return {name: float(term.detach()) for name, term in terms.items()}

    def validate(self) -> dict[str, float]:
        """Measure the averaged weights on the validation split, and write the sample sheet."""
        with self.autocast:
            measured = self.objective.validate(self.state.average)
            sheet = self.objective.sheet(self.state.average)
        if sheet is not None:
            Image.fromarray(sheet).save(self.folder / f"sheet_{self.state.progress.step:06d}.png")
        return measured


def compile_parts(network: nn.Module) -> None:
    """Mark the parts of a network to be compiled at their first use; the names of weights do not change.

    The network as a whole would not do: objectives call its methods, which use its compiled parts only.
    """
    for part in network.children():
        if isinstance(part, nn.ModuleList | nn.ModuleDict):
            compile_parts(part)
        else:
            part.compile()


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the running average towards the network's weights.

    Batch statistics are copied. Buffers that were calibrated on the average keep their values.
    """
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for (name, own), theirs in zip(average.named_buffers(), network.buffers(), strict=True):
        if name.rpartition(".")[2] not in CALIBRATED:
            own.copy_(theirs)
