"""Evaluation of the weights on held-out puppets and, if the reference media are present, on real people.

`make evaluate` runs it. It calls the commands of the user, so it measures exactly what a user can measure. What the
weights promise is checked on real faces only: a corpus that was made without a folder of faces has one face, and one
face proves nothing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from app.core.errors import ErrorCode
from lipsync.commands.errors import CommandError
from lipsync.commands.options import FILE, grouped

# Real speakers inside the folder of reference media whose lips the default weights did not learn.
PEOPLE: Final = tuple(f"media/real/grid_{speaker}_*.mp4" for speaker in ("E_m", "G_m", "J_w", "s34_w"))
Run = Callable[[Sequence[str]], tuple[int, str]]


@dataclass(frozen=True)
class StandardEvaluation:
    """Choices of a standard evaluation.

    out_dir: folder of all figures and pages. shared_dir: reference media. puppets: number of held-out puppets to make,
    unless `corpus` names a folder of clips. arguments: further arguments of `lipsync evaluate`.
    """

    out_dir: Path
    shared_dir: Path
    puppets: int = 12
    faces: Path | None = None
    speech: Path | None = None
    corpus: Path | None = None
    checkpoint: Path | None = None
    arguments: tuple[str, ...] = ()


def run_lipsync(arguments: Sequence[str]) -> tuple[int, str]:
    """Run a `lipsync` command; return its exit status and what it printed on standard output."""
    done = subprocess.run([sys.executable, "-m", "lipsync", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


def evaluate_standard(choice: StandardEvaluation, run: Run, report: Callable[[str], None]) -> int:
    """Evaluate puppets and people, report the text of each and one last line of figures; return the exit status.

    Writes puppets.json, puppets.txt and puppets_page into `out_dir`, and the same for people.
    """
    choice.out_dir.mkdir(parents=True, exist_ok=True)
    corpus = choice.corpus
    if corpus is None:
        corpus = choice.out_dir / "puppets"
        status, text = run(_corpus_arguments(choice, corpus))
        report(text.rstrip("\n"))
        if status != 0:
            return status
    people = sorted(path for pattern in PEOPLE for path in choice.shared_dir.glob(pattern))
    subjects = {"puppets": ["--corpus", str(corpus), *(["--check"] if choice.faces else [])]}
    if people:
        subjects["people"] = [*(word for path in people for word in ("--clips", str(path))), "--check"]
    statuses, last_lines = [], []
    for name, subject in subjects.items():
        status, text = run(_evaluate_arguments(choice, name, subject))
        (choice.out_dir / f"{name}.txt").write_text(text)
        report(text.rstrip("\n"))
        statuses.append(status)
        last_lines.append(f"{name}, {(text.splitlines() or [''])[-1]}")
    report("; ".join(last_lines))
    return next((status for status in reversed(statuses) if status != 0), 0)


def _corpus_arguments(choice: StandardEvaluation, corpus: Path) -> list[str]:
    faces = ["--faces", str(choice.faces)] if choice.faces else []
    speech = ["--speech", str(choice.speech)] if choice.speech else []
    clips = ["--clips", str(choice.puppets), "--voices", "0", "--held-out"]
    return ["corpus", "--out", str(corpus), *clips, *faces, *speech]


def _evaluate_arguments(choice: StandardEvaluation, name: str, subject: list[str]) -> list[str]:
    checkpoint = ["--checkpoint", str(choice.checkpoint)] if choice.checkpoint else []
    outputs = ["--json", str(choice.out_dir / f"{name}.json"), "--html", str(choice.out_dir / f"{name}_page")]
    return ["evaluate", *checkpoint, *choice.arguments, *subject, *outputs]


@click.command()
@click.option("--out", "out_dir", required=True, type=FILE)
@click.option("--shared", "shared_dir", required=True, type=FILE)
@click.option("--puppets", default=12, type=click.IntRange(1))
@click.option("--faces", type=FILE)
@click.option("--speech", type=FILE)
@click.option("--corpus", type=FILE)
@click.option("--checkpoint", type=FILE)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@grouped(StandardEvaluation)
def main(choice: StandardEvaluation) -> None:
    """Run a standard evaluation."""
    if choice.corpus is not None and not choice.corpus.is_dir():
        raise CommandError(ErrorCode.OPTION_INVALID, f"there is no folder {choice.corpus}")
    sys.exit(evaluate_standard(choice, run_lipsync, click.echo))


if __name__ == "__main__":
    main()
