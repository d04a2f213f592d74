"""Commands that make training data and train the networks."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import click

from app.core.errors import ErrorCode, InputError
from lipsync.commands.errors import CommandError
from lipsync.commands.options import (
    ENCODER_HELP,
    FILE,
    SEED,
    FiniteRange,
    check_can_be_folder,
    chosen_encoder,
    grouped,
    load_settings,
    log_line,
)


@dataclass(frozen=True)
class CorpusChoice:
    """Options of `lipsync corpus`."""

    out_dir: Path | None
    faces_dir: Path | None
    speech_dir: Path | None
    clips: int
    voices: int
    seed: int
    workers: int
    held_out: bool


@click.group(invoke_without_command=True)
@click.option("--out", "out_dir", type=FILE, help="Folder of the clips.")
@click.option("--faces", "faces_dir", type=FILE, help="A folder of faces with its INDEX.csv.")
@click.option("--speech", "speech_dir", type=FILE, help="Recordings with transcripts.")
@click.option("--clips", default=900, show_default=True, type=click.IntRange(1))
@click.option("--voices", default=2400, show_default=True, type=click.IntRange(0), help="Voices without a face.")
@click.option("--seed", type=SEED, default=7, show_default=True)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--held-out", is_flag=True, help="Make only held-out clips, as many as --clips says.")
@grouped(CorpusChoice)
def corpus(choice: CorpusChoice) -> None:
    """Make talking puppet clips with exact labels from still faces and speech."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    if choice.out_dir is None:
        raise click.UsageError("Missing option '--out'.")
    from model.corpus.build import CorpusSettings, build_corpus
    from worker.training_data.clip_writer import Preparer

    check_can_be_folder(choice.out_dir)
    preparer = Preparer()
    settings = CorpusSettings(
        choice.out_dir,
        choice.clips,
        choice.seed,
        choice.voices,
        choice.held_out,
        choice.faces_dir,
        choice.speech_dir,
    )
    made = build_corpus(settings, preparer.landmarks, preparer.write_clip, choice.workers, log_line)
    click.echo(f"{choice.out_dir}: {made.written} clips written, {made.kept} kept, {len(made.skipped)} skipped")
    if not made.puppets:
        reason = next(iter(made.skipped.values()))
        raise InputError(ErrorCode.OPTION_INVALID, f"No clip could be made; the first was skipped: {reason}.")


@corpus.command()
@click.option("--out", "out_dir", required=True, type=FILE, help="Folder of the materials.")
@click.option(
    "--from",
    "local_dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Take them from this folder (faces/, avatars/, speech/) instead of the network.",
)
def fetch(out_dir: Path, local_dir: Path | None) -> None:
    """Get the faces and recordings that the default weights learn from; can be stopped and continued."""
    from app.core.probing.limits import Limits
    from model.corpus.materials.fetch import copy_materials
    from model.corpus.materials.fetch import fetch as run
    from worker.training_data.source_media import FaceCutter, read_sound

    check_can_be_folder(out_dir)
    settings = load_settings()
    limits = Limits.of(settings)
    cutter, read = FaceCutter(limits, settings.ffmpeg), functools.partial(read_sound, limits=limits)
    got = (
        run(out_dir, cutter.cut_face, read, log_line)
        if local_dir is None
        else copy_materials(out_dir, local_dir, log_line)
    )
    click.echo(f"{out_dir}: {got.written} files written, {got.kept} kept, {len(got.missing)} missing")
    if got.missing:
        raise CommandError(
            ErrorCode.URL_FETCH_FAILED,
            f"{len(got.missing)} files could not be had; the others can be used, and the same command tries again.",
        )


@click.command()
@click.argument("folder", type=FILE)
@click.option("--out", "out_dir", required=True, type=FILE, help="Folder of the clips.")
@click.option("--val-share", default=0.1, show_default=True, type=FiniteRange(0, 0.9), help="Identities held out.")
@click.option("--seed", type=SEED, default=7, show_default=True, help="Decides who is held out.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--expert", type=FILE, help="A trained sync expert, which finds late sound.")
def prepare(folder: Path, out_dir: Path, val_share: float, seed: int, workers: int, expert: Path | None) -> None:
    """Turn a folder of talking videos (GRID, LRS2, HDTF or any) into training clips."""
    from worker.training_data.film import FilmReading
    from worker.training_data.prepare_folder import PrepareSettings, prepare_folder

    check_can_be_folder(out_dir)
    settings = PrepareSettings(val_share, seed, workers, expert, FilmReading.of(load_settings()))
    account = prepare_folder(folder, out_dir, settings, log_line)
    for line in account.lines():
        click.echo(line)
    if not account.clips:
        raise InputError(ErrorCode.NO_FACE_DETECTED, "No clip could be made of any film.")


@dataclass(frozen=True)
class TrainChoice:
    """Options of `lipsync train`."""

    config: Path
    corpus_dir: Path
    run_dir: Path
    expert: Path | None
    hearing: Path | None
    filmed: Path | None
    start: Path | None
    encoder: Path | None
    minutes: float | None
    resume: bool


@click.command()
@click.option("--config", required=True, type=FILE, help="A recipe: model/configs/*.toml.")
@click.option("--corpus", "corpus_dir", required=True, type=FILE, help="A folder of clips.")
@click.option("--run", "run_dir", required=True, type=FILE, help="Folder for state, curves and samples.")
@click.option("--expert", type=FILE, help="The trained sync expert, for a generator.")
@click.option("--hearing", type=FILE, help="The trained hearing; a generator keeps it.")
@click.option("--filmed", type=FILE, help="Prepared films of real speakers, from whose lips hearing learns too.")
@click.option("--start", type=FILE, help="A checkpoint whose drawing a generator continues.")
@click.option("--encoder", type=FILE, help=ENCODER_HELP)
@click.option("--minutes", type=FiniteRange(0, min_open=True), help="Stop after this long, all starts together.")
@click.option("--resume/--anew", default=True, help="Continue a stopped run, or begin again.")
@grouped(TrainChoice)
def train(choice: TrainChoice) -> None:
    """Train hearing, sync expert or generator from a recipe; can be stopped at any moment and resumed."""
    from model.training.recipe import read_recipe
    from model.training.train import TrainingSources
    from model.training.train import train as run

    check_can_be_folder(choice.run_dir)
    exported = run(
        read_recipe(choice.config),
        choice.corpus_dir,
        choice.run_dir,
        TrainingSources(choice.expert, choice.hearing, chosen_encoder(choice.encoder), choice.start, choice.filmed),
        minutes=choice.minutes,
        resume=choice.resume,
        log=log_line,
    )
    click.echo(str(exported))
