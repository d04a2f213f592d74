"""Turn a folder of talking videos into training clips: many films at once, and an account of what became of each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import torch
from tqdm import tqdm

from app.core.errors import ErrorCode, ServiceError
from model.checkpoint import CheckpointConfig, load_expert
from model.evaluation.av_offset import OffsetExpert
from worker.training_data.clip_writer import FPS, Preparer
from worker.training_data.dataset_layouts import Film, choose_splits, find_films, known_splits
from worker.training_data.film import Result, prepare_film


@dataclass(frozen=True)
class Plan:
    """Say how a folder is prepared: the share of identities held out, the seed, processes, and a sync expert's file."""

    val_share: float = 0.1
    seed: int = 7
    workers: int = 1
    expert: Path | None = None


@dataclass
class Account:
    """What became of every film, and how many identities each split has."""

    results: dict[Path, Result] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)

    @property
    def clips(self) -> int:
        """Return how many clips there are now."""
        return sum(len(result.clips) for result in self.results.values())

    def lines(self) -> Iterator[str]:
        """Describe it as a table for people."""
        results = self.results.values()
        used = [result for result in results if result.clips]
        seconds = sum(result.frames for result in used) / FPS
        shifted = [result.offset_frames for result in used if result.offset_frames]
        for path, result in self.results.items():
            for reason in result.left_out:
                yield f"{'part left out' if result.clips else 'skipped':<14} {path}: {reason}"
        kept = sum(result.kept for result in used)
        yield f"{'films':<14} {len(used)} used ({kept} from before), {len(results) - len(used)} skipped"
        yield f"{'clips':<14} {self.clips}, {seconds:.1f} s"
        held_out = list(self.splits.values()).count("val")
        yield f"{'identities':<14} {len(self.splits) - held_out} to train, {held_out} held out"
        moves = ", ".join(f"{n:+d}" for n in sorted(shifted))
        yield f"{'sound moved':<14} in {len(shifted)} films" + (f" that were late by {moves} frames" if moves else "")


class _Bench:
    """What one process works with: a detector, and an expert where one is given."""

    def __init__(self, plan: Plan, splits: dict[str, str], out_dir: Path) -> None:
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        self._preparer, self._splits, self._out_dir = Preparer(), splits, out_dir
        self._listener: OffsetExpert | None = None
        if plan.expert is not None:
            expert = load_expert(plan.expert)
            self._listener = OffsetExpert(expert, expert.config.image_size, CheckpointConfig().mel_window)

    def prepare(self, film: Film) -> Result:
        return prepare_film(self._preparer, film, self._splits[film.identity], self._out_dir, self._listener)


_bench: _Bench | None = None


def _open_bench(plan: Plan, splits: dict[str, str], out_dir: Path) -> None:
    global _bench  # noqa: PLW0603  one a process, opened by the pool's initialiser
    _bench = _Bench(plan, splits, out_dir)


def _prepare(film: Film) -> Result:
    if _bench is None:
        raise RuntimeError("the bench of this process was not opened")
    return _bench.prepare(film)


def prepare_folder(folder: Path, out_dir: Path, plan: Plan, tell: Callable[[str], None]) -> Account:
    """Prepare every film of a folder; films done before are kept, unusable ones are accounted for.

    Who has clips there already stays in the split of before, whatever share and seed say now. Raises InputError for a
    folder without videos and for clips of somebody in both splits, CheckpointError for the expert, ServiceError where a
    process dies.
    """
    films = find_films(folder)
    if plan.expert is not None:
        load_expert(plan.expert)  # a wrong file is said once, before processes start
    known = known_splits(out_dir)
    splits = choose_splits({film.identity for film in films}, plan.val_share, plan.seed, known)
    if "val" not in (known | splits).values():
        tell("nobody is held out: training needs clips of at least two identities")
    out_dir.mkdir(parents=True, exist_ok=True)
    results: dict[Path, Result] = {}
    with tqdm(total=len(films), unit="film", desc="prepare", dynamic_ncols=True) as bar:
        for film, result in _results(films, plan, splits, out_dir):
            results[film.path.relative_to(folder)] = result
            bar.update()
    used = {film.identity for film in films if results[film.path.relative_to(folder)].clips}
    return Account(dict(sorted(results.items())), {name: split for name, split in splits.items() if name in used})


def _results(films: list[Film], plan: Plan, splits: dict[str, str], out_dir: Path) -> Iterable[tuple[Film, Result]]:
    if plan.workers <= 1:
        bench = _Bench(plan, splits, out_dir)
        for film in films:
            yield film, bench.prepare(film)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(plan.workers, context, _open_bench, (plan, splits, out_dir)) as pool:
        futures = {pool.submit(_prepare, film): film for film in films}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            pool.shutdown(wait=False, cancel_futures=True)
            message = "A process that prepared films died; the same command goes on where it was."
            raise ServiceError(ErrorCode.WORKER_LOST, message) from None
