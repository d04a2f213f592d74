"""Ratings by people: a blind page that shows systems side by side, and the mean marks of the answers.

The page is static, and its videos have random names. A key file beside its folder says which system made which video,
so the folder itself can be given to anybody. The order of the sentences and of the videos is shuffled for each rater.
"""

from __future__ import annotations

import csv
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from scipy import stats

from model.errors import RatingError
from model.evaluation.pages import render

QUESTIONS: Final = ("sync", "quality", "overall")
_MARKS: Final = range(1, 6)
_PLAYABLE: Final = (".mp4", ".webm")


@dataclass(frozen=True)
class MeanMark:
    """Mean mark of one system for one question, with its 95 % confidence interval by Student's t.

    The interval assumes independent answers, so with few raters the true interval is wider. mean, low and high are None
    if there are too few answers for them.
    """

    system: str
    question: str
    answers: int
    mean: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Return the mean mark as one line of text."""
        interval = "" if self.low is None else f" (95 %: {self.low:.2f} to {self.high:.2f})"
        mean = "-" if self.mean is None else f"{self.mean:.2f}"
        return f"{self.system:<20} {self.question:<8} {mean}{interval}, {self.answers} answers"


def write_page(folder: Path, systems: Mapping[str, Path], seed: int) -> Path:
    """Write a page into a folder, with the videos of every system under random names; return the path of the page.

    systems: name -> folder of .mp4 or .webm. Videos of the same name are shown side by side; a video that one of the
    systems lacks is left out. The key is written as FOLDER_key.csv beside the folder. Raises RatingError.
    """
    folder = folder.resolve()
    if len(systems) < 2:
        raise RatingError("a page needs at least two systems to compare")
    if key_path(folder).exists() or (folder.exists() and any(folder.iterdir())):
        raise RatingError(f"{folder} holds something already, and raters may be answering it: name a new folder")
    found = {name: _videos(name, place) for name, place in systems.items()}
    common = sorted(set.intersection(*(set(videos) for videos in found.values())))
    if not common:
        raise RatingError("the systems have no video of the same name")
    rng = random.Random(seed)
    media = folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    key: list[tuple[str, str, str]] = []
    trials: list[list[str]] = []
    for clip in common:
        trial = []
        for system, videos in found.items():
            blind = f"{rng.getrandbits(64):016x}{videos[clip].suffix.lower()}"
            shutil.copyfile(videos[clip], media / blind)
            key.append((blind, system, clip))
            trial.append(blind)
        trials.append(sorted(trial))
    rng.shuffle(trials)
    with key_path(folder).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("video", "system", "clip"), *sorted(key)])
    study = {"id": f"{rng.getrandbits(32):08x}", "seed": seed, "trials": trials}
    page = folder / "index.html"
    page.write_text(render("raters.html", study=study), encoding="utf-8")
    return page


def key_path(folder: Path) -> Path:
    """Return the path of the key of a page's folder."""
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}_key.csv")


def mean_marks(folder: Path, answers: Sequence[Path]) -> list[MeanMark]:
    """Return the mean mark of every system for every question, from the files that raters saved.

    A later answer of a rater to a video replaces the earlier one, so a file that was saved twice counts once. Raises
    RatingError.
    """
    try:
        systems = {row["video"]: row["system"] for row in _rows(key_path(folder))}
    except KeyError as error:
        raise RatingError(f"{key_path(folder).name} has no column {error}") from error
    given: dict[tuple[str, str], dict[str, int]] = {}  # by rater and video: the mark of each question
    for path in answers:
        for number, row in enumerate(_rows(path), 2):
            if (row.get("video") or "") not in systems:
                raise RatingError(f"{path.name}, line {number}: this video does not belong to {folder.name}")
            where = f"{path.name}, line {number}"
            rater = row.get("rater") or path.name
            given[rater, row["video"]] = {question: _mark(row.get(question), where) for question in QUESTIONS}
    return [
        _mean_mark(
            system, question, [marks[question] for (_, video), marks in given.items() if systems[video] == system]
        )
        for system in sorted(set(systems.values()))
        for question in QUESTIONS
    ]


def _mean_mark(system: str, question: str, marks: Sequence[int]) -> MeanMark:
    """Return the mean of these marks."""
    count, mean = len(marks), float(np.mean(marks)) if marks else None
    if mean is None or count < 2:
        return MeanMark(system, question, count, mean, None, None)
    reach = float(stats.t.ppf(0.975, count - 1) * np.std(marks, ddof=1) / np.sqrt(count))
    return MeanMark(system, question, count, mean, mean - reach, mean + reach)


def _videos(name: str, place: Path) -> dict[str, Path]:
    """Return the videos of a system's folder by name. Raises RatingError."""
    if not place.is_dir():
        raise RatingError(f"there is no folder {place}")
    found = {path.stem: path for path in sorted(place.iterdir()) if path.suffix.lower() in _PLAYABLE}
    if not found:
        raise RatingError(f"the folder of {name} holds no .mp4 or .webm")
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file. Raises RatingError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RatingError(f"{path} cannot be read as CSV ({error})") from error


def _mark(text: str | None, where: str) -> int:
    """Return a mark. Raises RatingError with the line it comes from."""
    if text is None or not text.isdecimal() or int(text) not in _MARKS:
        raise RatingError(f"{where}: a mark must be 1 to 5, not {text!r}")
    return int(text)
