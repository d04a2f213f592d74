"""Turn a folder of films of talking people into training clips, several films at once, and report on each film."""

from __future__ import annotations

import functools
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
from model.checkpoint import load_expert
from model.checkpoint_config import CheckpointConfig
from model.evaluation.av_offset import OffsetExpert
from worker.training_data.clip_writer import FPS, Preparer
from worker.training_data.dataset_layouts import Film, choose_splits, find_films, known_splits
from worker.training_data.film import FilmReading, FilmResult, prepare_film


@dataclass(frozen=True)
class PrepareSettings:
    """Settings for preparing a folder.

    val_share: share of the identities that is held out. seed: decides which. workers: number of processes. expert:
    checkpoint of a sync expert, which estimates the delay of the sound; None: estimate it without a network. reading:
    how films are read.
    """

    val_share: float = 0.1
    seed: int = 7
    workers: int = 1
    expert: Path | None = None
    reading: FilmReading = field(default_factory=FilmReading)


@dataclass
class FolderReport:
    """Report on a prepared folder: the result of each film by its path, and the split of each identity with clips."""

    results: dict[Path, FilmResult] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)

    @property
    def clips(self) -> int:
        """Return the number of clips of all films."""
        return sum(len(result.clips) for result in self.results.values())

    def lines(self) -> Iterator[str]:
        """Yield the lines of a table for the user."""
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


@dataclass(frozen=True)
class _Tools:
    """Tools of one process: the writer of clips with its detector, and the sync expert if there is one."""

    preparer: Preparer
    expert: OffsetExpert | None


def _open_tools(expert_path: Path | None) -> _Tools:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if expert_path is None:
        return _Tools(Preparer(), None)
    expert = load_expert(expert_path)
    return _Tools(Preparer(), OffsetExpert(expert, expert.config.image_size, CheckpointConfig().mel_window))


_tools_of_process = functools.cache(_open_tools)  # a process of the pool prepares many films with the same tools


def _prepare_in_process(film: Film, split: str, out_dir: Path, settings: PrepareSettings) -> FilmResult:
    tools = _tools_of_process(settings.expert)
    return prepare_film(tools.preparer, film, split, out_dir, tools.expert, settings.reading)


def prepare_folder(folder: Path, out_dir: Path, settings: PrepareSettings, log: Callable[[str], None]) -> FolderReport:
    """Prepare each film of a folder; films that were prepared before are kept, unusable films are reported.

    An identity that already has clips in `out_dir` keeps its split, with any share and seed. Raises InputError for a
    folder without videos and for an identity with clips in both splits, CheckpointError for the expert, ServiceError
    when a process dies.
    """
    films = find_films(folder)
    if settings.expert is not None:
        load_expert(settings.expert)  # a wrong file is reported once, before processes start
    known = known_splits(out_dir)
    splits = choose_splits({film.identity for film in films}, settings.val_share, settings.seed, known)
    if "val" not in (known | splits).values():
        log("nobody is held out: training needs clips of at least two identities")
    out_dir.mkdir(parents=True, exist_ok=True)
    results: dict[Path, FilmResult] = {}
    with tqdm(total=len(films), unit="film", desc="prepare", dynamic_ncols=True) as bar:
        for film, result in _prepare_films(films, settings, splits, out_dir):
            results[film.path.relative_to(folder)] = result
            bar.update()
    used = {film.identity for film in films if results[film.path.relative_to(folder)].clips}
    return FolderReport(dict(sorted(results.items())), {name: split for name, split in splits.items() if name in used})


def _prepare_films(
    films: list[Film], settings: PrepareSettings, splits: dict[str, str], out_dir: Path
) -> Iterable[tuple[Film, FilmResult]]:
    """Yield each film with its result, in any order."""
    if settings.workers <= 1:
        tools = _open_tools(settings.expert)
        for film in films:
            split = splits[film.identity]
            yield film, prepare_film(tools.preparer, film, split, out_dir, tools.expert, settings.reading)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(settings.workers, context) as pool:
        futures = {
            pool.submit(_prepare_in_process, film, splits[film.identity], out_dir, settings): film for film in films
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)  # else the pool would first prepare all other films
            if not isinstance(error, BrokenProcessPool):
                raise
            message = "A process that prepared films died; run the same command again to continue."
            raise ServiceError(ErrorCode.WORKER_LOST, message) from None
