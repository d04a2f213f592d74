"""Commands that judge synthesized lips and compare networks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lipsync.commands.options import (
    ENCODER_HELP,
    FILE,
    FILE_TO_WRITE,
    FOLDER_TO_WRITE,
    SEED,
    FiniteRange,
    check_can_be_folder,
    check_can_be_written,
    chosen_encoder,
    grouped,
    load_settings_with,
    log_line,
    print_broken,
    write_json,
)

if TYPE_CHECKING:
    from model.evaluation.thresholds import Threshold
    from worker.evaluation.request import Request


@dataclass(frozen=True)
class EvaluationChoice:
    """Options of `lipsync evaluate`."""

    corpus_dir: Path | None
    clips: tuple[Path, ...]
    results: tuple[Path, ...]
    references: tuple[Path, ...]
    checkpoint: Path | None
    limit: int
    seconds: float
    lpips_backbone: str | None
    inception: Path | None
    syncnet: Path | None
    json_path: Path | None
    html_dir: Path | None
    check: bool
    raters_dir: Path | None
    systems: tuple[str, ...]
    seed: int
    ratings: tuple[Path, ...]


@click.command()
@click.option("--corpus", "corpus_dir", type=FILE, help="Prepared clips; the held-out ones are judged.")
@click.option(
    "--clips",
    multiple=True,
    type=FILE,
    help="Real videos or folders of them, redrawn by their own sound through the whole pipeline; repeatable.",
)
@click.option("--result", "results", multiple=True, type=FILE, help="A finished video.")
@click.option(
    "--reference",
    "references",
    multiple=True,
    type=FILE,
    help="Its film; without films, only the match of lips and voice is known.",
)
@click.option("--checkpoint", type=FILE, help="Generator weights; else LIPSYNC_CHECKPOINT's.")
@click.option("--limit", type=click.IntRange(1), default=48, show_default=True, help="Judge at most so many clips.")
@click.option("--seconds", type=FiniteRange(0.5, 3600), default=20.0, show_default=True, help="Of each video.")
@click.option(
    "--lpips-backbone",
    help=(
        "Of LPIPS: 'hed-vgg16', 'random', 'none' for no LPIPS, or torchvision's AlexNet weights; "
        "else hed-vgg16 if its packages are installed."
    ),
)
@click.option("--inception", type=FILE, help="torchvision's Inception v3 weights, for FID instead of FED.")
@click.option("--syncnet", type=FILE, help="syncnet_v2 weights, for LSE-D and LSE-C.")
@click.option("--json", "json_path", type=FILE_TO_WRITE, help="Write the figures here.")
@click.option("--html", "html_dir", type=FOLDER_TO_WRITE, help="Write a page with pictures and plots here.")
@click.option("--check", is_flag=True, help="Exit 1 if the figures break what the default weights promise.")
@click.option(
    "--raters",
    "raters_dir",
    type=FOLDER_TO_WRITE,
    help=(
        "Write a blind page for raters here, with the videos of each --system; "
        "or, with --ratings, print the raters' opinions."
    ),
)
@click.option("--system", "systems", multiple=True, metavar="NAME=DIR", help="Result videos of one system; repeatable.")
@click.option("--seed", type=SEED, default=7, show_default=True, help="Of the order on the page for raters.")
@click.option("--ratings", multiple=True, type=FILE, help="A rater's saved answers; repeatable.")
@grouped(EvaluationChoice)
def evaluate(choice: EvaluationChoice) -> None:
    """Judge drawn lips: beside the real video, in silence, and with another speaker's voice; or let people judge."""
    if choice.raters_dir is None:
        _judge(choice)
    elif choice.ratings:
        _print_opinions(choice.raters_dir, choice)
    else:
        _write_rating_page(choice.raters_dir, choice)


def _judge(choice: EvaluationChoice) -> None:
    """Measure the lips, write and print the figures, and exit 1 if a promise is broken."""
    from model.evaluation.evaluate import OWN, REAL, without_film
    from model.evaluation.evaluate import evaluate as run
    from model.evaluation.html_report import write_report
    from model.evaluation.learned_metrics import default_backbone, load_learned_metrics
    from model.evaluation.tables import summarise, table
    from model.evaluation.thresholds import failures, group_failures, one_line_summary
    from worker.evaluation.request import Request, opened_cases

    if choice.json_path is not None:
        check_can_be_written(choice.json_path)
    if choice.html_dir is not None:
        check_can_be_folder(choice.html_dir)
    settings = load_settings_with(choice.checkpoint)
    backbone = choice.lpips_backbone or default_backbone()
    learned = load_learned_metrics(None if backbone == "none" else backbone, choice.inception, choice.syncnet)
    request = Request(
        choice.corpus_dir,
        choice.clips,
        choice.results,
        choice.references,
        choice.limit,
        choice.seconds,
        wide=choice.syncnet is not None,
    )
    with opened_cases(settings, request) as cases:
        measurements = run(cases, learned, log_line)
    if request.is_without_film:
        measurements = [without_film(measurement) for measurement in measurements]
    # Without its film, a result was measured against itself: there is no real video.
    judged = [one for one in measurements if not (request.is_without_film and one.row == REAL)]
    figures = {"judged": request.subject(settings), **summarise(judged, learned)}
    if choice.json_path is not None:
        write_json(choice.json_path, figures, indent=1)
    if choice.html_dir is not None:
        click.echo(write_report(choice.html_dir, figures, measurements, figures["judged"]))
    click.echo(table(figures, {OWN: "result"} if request.results else None))
    failed: list[str] = []
    if choice.check:
        thresholds = _thresholds(request)
        failed = failures(figures["rows"], thresholds, finished=bool(request.results))
        failed += group_failures(figures["by"], thresholds)
    print_broken(failed)
    click.echo(one_line_summary(figures["rows"]))
    sys.exit(1 if failed else 0)


def _thresholds(request: Request) -> Sequence[Threshold]:
    """Return what the default weights promise for the kind of videos in a request."""
    from model.evaluation.thresholds import (
        ALONE_THRESHOLDS,
        FINISHED_THRESHOLDS,
        PUPPET_THRESHOLDS,
        VIDEO_THRESHOLDS,
    )

    if request.corpus is not None:
        return PUPPET_THRESHOLDS
    if request.results:
        return ALONE_THRESHOLDS if request.is_without_film else FINISHED_THRESHOLDS
    return VIDEO_THRESHOLDS


def _write_rating_page(folder: Path, choice: EvaluationChoice) -> None:
    """Write the blind page for raters and print where it is."""
    from model.evaluation.rating_page import key_path, write_page

    named = (text.partition("=") for text in choice.systems)
    click.echo(write_page(folder, {name: Path(place or name) for name, _, place in named}, choice.seed))
    click.echo(f"which video is whose: {key_path(folder)}")


def _print_opinions(folder: Path, choice: EvaluationChoice) -> None:
    """Read the answers of raters, print what they think, and write it as JSON if asked."""
    from model.evaluation.rating_page import mean_marks

    found = mean_marks(folder, choice.ratings)
    if choice.json_path is not None:
        write_json(choice.json_path, [asdict(opinion) for opinion in found], indent=1)
    for opinion in found:
        click.echo(str(opinion))


@dataclass(frozen=True)
class AblationChoice:
    """Options of `lipsync ablate`."""

    corpus_dir: Path
    out_dir: Path
    config: Path | None
    hearing: Path | None
    mel_hearing: Path | None
    expert: Path | None
    encoder: Path | None
    minutes: float | None
    limit: int
    only: tuple[str, ...]


@click.command()
@click.option("--corpus", "corpus_dir", required=True, type=FILE, help="A folder of clips.")
@click.option("--out", "out_dir", required=True, type=FILE, help="Folder of the runs, table.md and sheet.png.")
@click.option("--config", type=FILE, help="Rows of a table; else model/configs/ablation.toml.")
@click.option("--hearing", type=FILE, help="The trained hearing; generators keep it.")
@click.option("--mel-hearing", type=FILE, help="The same for rows that hear mels.")
@click.option("--expert", type=FILE, help="The trained sync expert, needed if a row sets losses.sync.")
@click.option("--encoder", type=FILE, help=ENCODER_HELP)
@click.option("--minutes", type=FiniteRange(0, min_open=True), help="Train each row so long; else all its steps.")
@click.option("--limit", type=click.IntRange(1), default=24, show_default=True, help="Judge at most so many clips.")
@click.option("--only", multiple=True, help="Make this row alone; repeatable. The table shows all finished rows.")
@grouped(AblationChoice)
def ablate(choice: AblationChoice) -> None:
    """Compare the network with itself without each of its parts, and with Wav2Lip; can be stopped and continued."""
    from model.evaluation.ablation import AblationSettings, as_markdown, read_rows
    from model.evaluation.ablation import ablate as run
    from model.training.recipe import shipped_recipe
    from worker.evaluation.video_cases import MeshReader
    from worker.faces.detect import FaceDetector

    check_can_be_folder(choice.out_dir)
    settings = AblationSettings(
        choice.corpus_dir,
        choice.out_dir,
        choice.hearing,
        choice.mel_hearing,
        choice.expert,
        choice.minutes,
        choice.limit,
        chosen_encoder(choice.encoder),
    )
    with FaceDetector() as detector:
        rows = read_rows(choice.config or shipped_recipe("ablation"))
        table = run(rows, settings, MeshReader(detector), choice.only, log_line)
    click.echo(as_markdown(table))


@click.command()
@click.option("--corpus", "corpus_dir", required=True, type=FILE, help="Clips of real talkers, from `lipsync prepare`.")
@click.option("--out", required=True, type=FILE_TO_WRITE, help="The model, a .safetensors file.")
def fit_sync(corpus_dir: Path, out: Path) -> None:
    """Fit the model that tells how well lips fit a voice, and show what it says of speakers it has not seen."""
    from model.evaluation.lip_voice import save_model
    from model.evaluation.lip_voice_fit import account, fit, judge_held_out, read_talks
    from worker.evaluation.video_cases import MeshReader
    from worker.faces.detect import FaceDetector

    check_can_be_written(out)
    with FaceDetector() as detector:
        talks = read_talks(corpus_dir, MeshReader(detector), log_line)
    for line in account(judge_held_out(talks)):
        click.echo(line)
    save_model(out, fit(talks.train))
    click.echo(str(out))
