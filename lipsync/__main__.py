"""The command line: the one module that may import every package. Imports are lazy, so that each command is quick."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app.core.errors import ErrorCode, InputError, LipSyncError

if TYPE_CHECKING:
    from app.client import Client
    from app.core.settings import Settings

EXIT_REFUSED = 2
_TRAINING_ONLY = ("skimage", "lpips", "torchvision", "espeakng_loader", "tensorboard")  # a worker's image lacks them
_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Group(click.Group):
    """Turn every error of ours into one line and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LipSyncError as error:
            click.echo(f"error: {error.code}: {error.message}", err=True)
            sys.exit(EXIT_REFUSED)
        except ModuleNotFoundError as error:
            package = str(error.name).partition(".")[0]
            if package not in _TRAINING_ONLY:
                raise
            sentence = f"{package} is not installed; pip install '.[train]' brings it."
            click.echo(f"error: option_invalid: {sentence}", err=True)
            sys.exit(EXIT_REFUSED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Lip-sync video to a voice: as a service, or as its client."""
    # Read when torch is loaded: its threads sleep while they wait for each other. Spinning, they fight ffmpeg and any
    # neighbour for the cores; on two busy cores that made synthesis ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def load_settings() -> Settings:
    """Read the settings; a wrong one ends the program with one line."""
    from pydantic import ValidationError

    from app.core.settings import PREFIX, Settings

    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "".join(str(part) for part in first["loc"]).upper()
        reason = f"{PREFIX}{name}: {first['msg']}"
    except ValueError as error:
        reason = str(error)
    click.echo(f"error: option_invalid: {reason}.", err=True)
    sys.exit(EXIT_REFUSED)


def _settings_with_redis() -> Settings:
    settings = load_settings()
    if settings.redis_url is None:
        click.echo("error: option_invalid: LIPSYNC_REDIS_URL is not set; `lipsync serve` brings its own.", err=True)
        sys.exit(EXIT_REFUSED)
    return settings


# ---- the service


@main.command()
def serve() -> None:
    """Run the whole service: API, workers and, where LIPSYNC_REDIS_URL is unset, a private Redis."""
    from app.core.logs import set_up_logging
    from lipsync.supervisor import serve as run

    set_up_logging()
    sys.exit(run(load_settings(), click.echo))


@main.command()
def api() -> None:
    """Run the HTTP API alone; needs LIPSYNC_REDIS_URL."""
    from app.core.logs import set_up_logging
    from app.main import run_api

    set_up_logging()
    run_api(_settings_with_redis())


@main.command()
def worker() -> None:
    """Run the workers alone; needs LIPSYNC_REDIS_URL and the data folder of the API."""
    from app.core.logs import set_up_logging
    from worker.main import run_worker

    set_up_logging()
    sys.exit(run_worker(_settings_with_redis()))


# ---- a client of a running service


def _service(command: _Command) -> _Command:
    """Add the options that say which service is meant."""
    key = click.option("--api-key", envvar="LIPSYNC_API_KEY", help="The service's API key.")
    url = click.option("--url", envvar="LIPSYNC_URL", default="http://127.0.0.1:8000", show_default=True)
    return url(key(command))


def job_options(command: _Command) -> _Command:
    """Add one command-line option for each option of a job; they arrive as text, None where not given."""
    from app.core.jobs import JobOptions

    for name, field in reversed(JobOptions.model_fields.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, help=field.description)(command)
    return command


def _client(url: str, api_key: str | None) -> Client:
    from app.client import Client

    return Client(url, api_key)


class ProgressLine:
    """Write a job's state over the last one on a terminal; elsewhere a line where the stage or a tenth changes."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()

    def __call__(self, job: dict[str, Any]) -> None:
        """Show one state."""
        progress, status = job["progress"], job["status"]
        text = " ".join(filter(None, [status, job["stage"]]))
        if job["queue_position"]:
            text = f"queued, number {job['queue_position']} in line"
        elif status == "running" and progress["frames_total"]:
            text += f" {progress['percent']:.0f}%"
            if progress["eta_s"] is not None:
                text += f", {progress['fps']:.1f} frames/s, {progress['eta_s']:.0f} s left"
        if sys.stderr.isatty():
            click.echo(f"\r\033[K{text}", nl=status in ("succeeded", "failed", "canceled"), err=True)
            return
        step = (status, job["stage"], job["queue_position"], progress["percent"] // 10)
        if step != self._last:
            self._last = step
            click.echo(text, err=True)


def _end_on_failure(job: dict[str, Any]) -> None:
    """Exit with the job's own error where it did not succeed."""
    if job["status"] == "failed":
        click.echo(f"error: {job['error']['code']}: {job['error']['message']}", err=True)
        sys.exit(EXIT_REFUSED)
    if job["status"] == "canceled":
        click.echo("error: canceled: The job was canceled.", err=True)
        sys.exit(EXIT_REFUSED)


@main.command()
@click.option("--video", required=True, type=click.Path(path_type=Path), help="A video or a still image.")
@click.option("--audio", required=True, type=click.Path(path_type=Path), help="The voice, or a video with sound.")
@click.option("--audio-mix", type=click.Path(path_type=Path), help="Heard in the output instead of the voice.")
@click.option("--idempotency-key", help="The same key and request give the same job.")
@click.option("--output", type=click.Path(path_type=Path), help="Wait for the result and write it here.")
@job_options
@_service
def submit(
    url: str,
    api_key: str | None,
    video: Path,
    audio: Path,
    audio_mix: Path | None,
    idempotency_key: str | None,
    output: Path | None,
    **options: str | None,
) -> None:
    """Send a job; print its id, or with --output wait for it and fetch the result."""
    with _client(url, api_key) as client:
        job = client.submit(video, audio, options, audio_mix=audio_mix, idempotency_key=idempotency_key)
        click.echo(job["id"])
        if output is not None:
            _end_on_failure(client.wait(job["id"], ProgressLine()))
            client.download(job["id"], output)


@main.command()
@click.argument("job_id")
@_service
def status(url: str, api_key: str | None, job_id: str) -> None:
    """Print a job as JSON."""
    with _client(url, api_key) as client:
        click.echo(json.dumps(client.status(job_id), indent=2))


@main.command()
@click.argument("job_id")
@click.option("--timeout-s", type=float, help="Give up after this long.")
@_service
def wait(url: str, api_key: str | None, job_id: str, timeout_s: float | None) -> None:
    """Wait for a job to end; exit 0 only where it succeeded."""
    with _client(url, api_key) as client:
        try:
            job = client.wait(job_id, ProgressLine(), timeout_s)
        except TimeoutError:
            click.echo("error: run_timeout: The job has not ended yet.", err=True)
            sys.exit(EXIT_REFUSED)
    _end_on_failure(job)


@main.command()
@click.argument("job_id")
@_service
def cancel(url: str, api_key: str | None, job_id: str) -> None:
    """Cancel a job; print its status."""
    with _client(url, api_key) as client:
        click.echo(client.cancel(job_id)["status"])


@main.command()
@click.argument("job_id")
@_service
def retry(url: str, api_key: str | None, job_id: str) -> None:
    """Try a failed or canceled job again; print its status."""
    with _client(url, api_key) as client:
        click.echo(client.retry(job_id)["status"])


@main.command()
@click.argument("job_id")
@click.option("--output", required=True, type=click.Path(path_type=Path))
@_service
def download(url: str, api_key: str | None, job_id: str, output: Path) -> None:
    """Fetch a result."""
    with _client(url, api_key) as client:
        client.download(job_id, output)


# ---- the same pipeline in this process


@main.command()
@click.option("--video", required=True, type=click.Path(path_type=Path), help="A video or a still image.")
@click.option("--audio", required=True, type=click.Path(path_type=Path), help="The voice, or a video with sound.")
@click.option("--audio-mix", type=click.Path(path_type=Path), help="Heard in the output instead of the voice.")
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The MP4 to write.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Generator weights; else LIPSYNC_CHECKPOINT's.")
@job_options
def sync(
    video: Path, audio: Path, audio_mix: Path | None, output: Path, checkpoint: Path | None, **options: str | None
) -> None:
    """Lip-sync one clip here, without a server."""
    from worker.one_clip import sync_clip

    settings = load_settings()
    if checkpoint is not None:
        settings = settings.model_copy(update={"checkpoint": checkpoint})
    outcome = sync_clip(settings, video, audio, audio_mix, output, options)
    for warning in outcome.warnings:
        click.echo(f"warning: {warning}", err=True)
    result, report = outcome.result, outcome.report
    click.echo(
        f"{output}: {result.frames} frames, {result.duration_s:.2f} s, {result.width}x{result.height}, face in "
        f"{report.face_coverage:.0%} of them, {report.realtime_factor:.2f} s of work per second of video"
    )


@main.command()
def doctor() -> None:
    """Say what this machine has for lip-sync and what is wrong; exit 2 where something is."""
    from worker.doctor import examine

    findings = examine(load_settings())
    for finding in findings:
        click.echo(f"{'ok   ' if finding.good else 'WRONG'} {finding.name:<12} {finding.text}")
    if not all(finding.good for finding in findings):
        sys.exit(EXIT_REFUSED)


@main.command()
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
@click.option(
    "--clip",
    "clips",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help=("Measure this clip, driven by its own sound, instead of the standard ones; repeatable."),
)
@click.option("--runs", default=1, show_default=True, type=click.IntRange(1, 20), help="Medians over so many runs.")
def bench(json_path: Path | None, clips: tuple[Path, ...], runs: int) -> None:
    """Measure speed and memory against a plain transcode; exit 1 where a promise about memory is broken."""
    from lipsync.bench.bench import bench as run
    from lipsync.bench.bench import broken_promises, table

    figures = run(clips, runs)
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2) + "\n")
    click.echo(table(figures))
    broken = broken_promises(figures)
    for promise in broken:
        click.echo(f"error: {promise}", err=True)
    sys.exit(1 if broken else 0)


# ---- the model


@main.group(invoke_without_command=True)
@click.option("--out", "out_dir", type=click.Path(path_type=Path), help="Where the clips go.")
@click.option("--faces", "faces_dir", type=click.Path(path_type=Path), help="A folder of faces with its INDEX.csv.")
@click.option("--speech", "speech_dir", type=click.Path(path_type=Path), help="Recordings with transcripts.")
@click.option("--clips", default=900, show_default=True, type=click.IntRange(1))
@click.option("--voices", default=2400, show_default=True, type=click.IntRange(0), help="Voices without a face.")
@click.option("--seed", default=7, show_default=True)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--held-out", is_flag=True, help="Make so many clips of the split for judging, and no others.")
@click.pass_context
def corpus(
    ctx: click.Context,
    out_dir: Path | None,
    faces_dir: Path | None,
    speech_dir: Path | None,
    clips: int,
    voices: int,
    seed: int,
    workers: int,
    held_out: bool,
) -> None:
    """Make talking puppet clips with exact labels from still faces and speech."""
    if ctx.invoked_subcommand is not None:
        return
    if out_dir is None:
        raise click.UsageError("Missing option '--out'.")
    from model.corpus.build import build_corpus
    from model.errors import EspeakError, MaterialError
    from worker.training_data.clip_writer import Preparer

    _can_be_a_folder(out_dir)
    preparer = Preparer()
    try:
        made = build_corpus(
            faces_dir,
            out_dir,
            clips,
            seed,
            preparer.landmarks,
            preparer.write_clip,
            workers,
            speech_dir,
            lambda text: click.echo(text, err=True),
            voices,
            held_out,
        )
    except (EspeakError, MaterialError) as error:
        raise InputError(ErrorCode.OPTION_INVALID, f"{error}.") from error
    click.echo(f"{out_dir}: {made.written} clips written, {made.kept} kept, {len(made.skipped)} skipped")
    if not made.puppets:
        reason = next(iter(made.skipped.values()))
        raise InputError(ErrorCode.OPTION_INVALID, f"No clip could be made; the first was skipped: {reason}.")


def _can_be_a_folder(path: Path) -> None:
    """Raise InputError where a file is in the way of a folder."""
    first = next(place for place in (path, *path.parents) if place.exists())
    if not first.is_dir():
        raise InputError(ErrorCode.OPTION_INVALID, f"{path} cannot be a folder: {first} is a file.")


@corpus.command("fetch")
@click.option("--out", "out_dir", required=True, type=click.Path(path_type=Path), help="Where the materials go.")
@click.option(
    "--from",
    "local_dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help=("Take them from this folder (faces/, avatars/, speech/) instead of the network."),
)
def fetch_materials(out_dir: Path, local_dir: Path | None) -> None:
    """Get the faces and recordings that the default weights learn from; can be stopped and goes on."""
    from model.corpus.materials.fetch import fetch, take
    from worker.training_data.source_media import FaceCutter, read_sound

    _can_be_a_folder(out_dir)

    def tell(text: str) -> None:
        click.echo(text, err=True)

    got = (
        fetch(out_dir, FaceCutter().cut_face, read_sound, tell) if local_dir is None else take(out_dir, local_dir, tell)
    )
    click.echo(f"{out_dir}: {got.written} files written, {got.kept} kept, {len(got.missing)} missing")
    if got.missing:
        click.echo(
            f"error: url_fetch_failed: {len(got.missing)} files could not be had; the others can be used, and "
            "the same command tries again.",
            err=True,
        )
        sys.exit(EXIT_REFUSED)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", "out_dir", required=True, type=click.Path(path_type=Path), help="Where the clips go.")
@click.option("--val-share", default=0.1, show_default=True, type=click.FloatRange(0, 0.9), help="Identities held out.")
@click.option("--seed", default=7, show_default=True, help="Decides who is held out.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--expert", type=click.Path(path_type=Path), help="A trained sync expert, to find late sound with.")
def prepare(folder: Path, out_dir: Path, val_share: float, seed: int, workers: int, expert: Path | None) -> None:
    """Turn a folder of talking videos (GRID, LRS2, HDTF or any) into training clips."""
    from model.errors import CheckpointError
    from worker.training_data.prepare_folder import PrepareSettings, prepare_folder

    _can_be_a_folder(out_dir)

    def tell(text: str) -> None:
        click.echo(text, err=True)

    try:
        account = prepare_folder(folder, out_dir, PrepareSettings(val_share, seed, workers, expert), tell)
    except CheckpointError as error:
        click.echo(f"error: checkpoint_invalid: {error}", err=True)
        sys.exit(EXIT_REFUSED)
    for line in account.lines():
        click.echo(line)
    if not account.clips:
        click.echo("error: no_face_detected: No clip could be made of any film.", err=True)
        sys.exit(EXIT_REFUSED)


@main.command()
@click.option("--config", required=True, type=click.Path(path_type=Path), help="A recipe: model/configs/*.toml.")
@click.option("--corpus", "corpus_dir", required=True, type=click.Path(path_type=Path), help="A folder of clips.")
@click.option("--run", "run_dir", required=True, type=click.Path(path_type=Path), help="State, curves, samples.")
@click.option("--expert", type=click.Path(path_type=Path), help="The trained sync expert, for a generator.")
@click.option("--hearing", type=click.Path(path_type=Path), help="The trained hearing; a generator keeps it.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Stop after this long, all starts together.")
@click.option("--resume/--anew", default=True, help="Go on where the run was stopped, or begin again.")
def train(
    config: Path,
    corpus_dir: Path,
    run_dir: Path,
    expert: Path | None,
    hearing: Path | None,
    minutes: float | None,
    resume: bool,
) -> None:
    """Train hearing, sync expert or generator, as the recipe says; stop and resume at any moment."""
    from model.errors import BackboneError, CheckpointError, CorpusError, RecipeError, TrainingError
    from model.training.recipe import read_recipe
    from model.training.train import train as run

    try:
        exported = run(
            read_recipe(config),
            corpus_dir,
            run_dir,
            minutes,
            resume,
            expert,
            hearing,
            lambda text: click.echo(text, err=True),
        )
        click.echo(str(exported))
    except (BackboneError, CheckpointError, CorpusError, RecipeError, TrainingError) as error:
        click.echo(f"error: option_invalid: {error}", err=True)
        sys.exit(EXIT_REFUSED)


@main.command()
@click.option("--corpus", "corpus_dir", type=click.Path(path_type=Path), help="Prepared clips; those held out count.")
@click.option(
    "--clips",
    multiple=True,
    type=click.Path(path_type=Path),
    help=("Real videos or folders of them, redrawn by their own sound through the whole pipeline; repeatable."),
)
@click.option("--result", "results", multiple=True, type=click.Path(path_type=Path), help="A finished video.")
@click.option("--reference", "references", multiple=True, type=click.Path(path_type=Path), help="Its film.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Generator weights; else LIPSYNC_CHECKPOINT's.")
@click.option("--limit", type=click.IntRange(1), default=48, show_default=True, help="Judge at most so many clips.")
@click.option("--seconds", type=click.FloatRange(0.5, 3600), default=20.0, show_default=True, help="Of each video.")
@click.option("--lpips-backbone", help="torchvision's AlexNet weights, for LPIPS; or 'random'.")
@click.option("--inception", type=click.Path(path_type=Path), help="torchvision's Inception v3 weights, for FID.")
@click.option("--syncnet", type=click.Path(path_type=Path), help="syncnet_v2 weights, for LSE-D and LSE-C.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
@click.option(
    "--html",
    "html_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help=("Write a page with pictures and plots here."),
)
@click.option("--check", is_flag=True, help="Exit 1 where the figures break what the default weights promise.")
@click.option(
    "--raters",
    "raters_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help=(
        "Write a blind page for people here, of the videos of each --system; or, with --ratings, say what they think."
    ),
)
@click.option("--system", "systems", multiple=True, metavar="NAME=DIR", help="Result videos of one system; repeatable.")
@click.option("--seed", default=7, show_default=True, help="Of the order on the page for raters.")
@click.option("--ratings", multiple=True, type=click.Path(path_type=Path), help="A rater's saved answers; repeatable.")
def evaluate(
    corpus_dir: Path | None,
    clips: tuple[Path, ...],
    results: tuple[Path, ...],
    references: tuple[Path, ...],
    checkpoint: Path | None,
    limit: int,
    seconds: float,
    lpips_backbone: str | None,
    inception: Path | None,
    syncnet: Path | None,
    json_path: Path | None,
    html_dir: Path | None,
    check: bool,
    raters_dir: Path | None,
    systems: tuple[str, ...],
    seed: int,
    ratings: tuple[Path, ...],
) -> None:
    """Judge drawn lips: beside the real video, in silence, and with a stranger's voice; or let people judge."""
    if raters_dir is not None:
        _ask_people(raters_dir, systems, seed, ratings, json_path)
        return
    from model.errors import BackboneError, CorpusError
    from model.evaluation.evaluate import evaluate as run
    from model.evaluation.html_report import write_report
    from model.evaluation.learned_metrics import load_judges
    from model.evaluation.tables import summarise, table
    from model.evaluation.thresholds import PEOPLE, PUPPETS, broken, summary
    from worker.evaluation.request import Request, opened_cases

    settings = load_settings()
    if checkpoint is not None:
        settings = settings.model_copy(update={"checkpoint": checkpoint})
    try:
        judges = load_judges(lpips_backbone, inception, syncnet)
        request = Request(corpus_dir, clips, results, references, limit, seconds, wide=syncnet is not None)
        with opened_cases(settings, request) as cases:
            takes = run(cases, judges, tell=lambda name: click.echo(name, err=True))
    except (BackboneError, CorpusError) as error:
        click.echo(f"error: option_invalid: {error}", err=True)
        sys.exit(EXIT_REFUSED)
    figures = {"judged": request.subject(settings), **summarise(takes, judges)}
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(figures, indent=1) + "\n")
    if html_dir is not None:
        click.echo(write_report(html_dir, figures, takes, figures["judged"]))
    click.echo(table(figures))
    promises = broken(figures["rows"], PUPPETS if corpus_dir else PEOPLE) if check else []
    for promise in promises:
        click.echo(f"error: {promise}", err=True)
    click.echo(summary(figures["rows"]))
    sys.exit(1 if promises else 0)


def _ask_people(
    folder: Path, systems: tuple[str, ...], seed: int, ratings: tuple[Path, ...], json_path: Path | None
) -> None:
    """Make the page for raters, or say what their answers mean."""
    from dataclasses import asdict

    from model.errors import RatingError
    from model.evaluation.rating_page import key_path, opinions, write_page

    try:
        if not ratings:
            named = (text.partition("=") for text in systems)
            click.echo(write_page(folder, {name: Path(place or name) for name, _, place in named}, seed))
            click.echo(f"which video is whose: {key_path(folder)}")
            return
        found = opinions(folder, ratings)
    except RatingError as error:
        click.echo(f"error: option_invalid: {error}", err=True)
        sys.exit(EXIT_REFUSED)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    for one in found:
        click.echo(str(one))


@main.command()
@click.option("--corpus", "corpus_dir", required=True, type=click.Path(path_type=Path), help="A folder of clips.")
@click.option("--out", "out_dir", required=True, type=click.Path(path_type=Path), help="Runs, table.md, sheet.png.")
@click.option("--config", type=click.Path(path_type=Path), help="Rows of a table; else model/configs/ablation.toml.")
@click.option("--hearing", type=click.Path(path_type=Path), help="The trained hearing; generators keep it.")
@click.option("--expert", type=click.Path(path_type=Path), help="The trained sync expert, where losses.sync asks.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Train each row so long; else all its steps.")
@click.option("--limit", type=click.IntRange(1), default=24, show_default=True, help="Judge at most so many clips.")
@click.option("--only", multiple=True, help="Make this row alone; repeatable. The table shows all that are finished.")
def ablate(
    corpus_dir: Path,
    out_dir: Path,
    config: Path | None,
    hearing: Path | None,
    expert: Path | None,
    minutes: float | None,
    limit: int,
    only: tuple[str, ...],
) -> None:
    """Train the network without each of its parts, and Wav2Lip, and compare; can be stopped and goes on."""
    from model.errors import BackboneError, CheckpointError, CorpusError, RecipeError, TrainingError
    from model.evaluation.ablation import Plan, as_markdown, read_rows
    from model.evaluation.ablation import ablate as run
    from model.training.recipe import shipped_recipe
    from worker.evaluation.video_cases import MeshReader
    from worker.faces.detect import FaceDetector

    plan = Plan(corpus_dir, out_dir, hearing, expert, minutes, limit)
    try:
        with FaceDetector() as detector:
            table = run(
                read_rows(config or shipped_recipe("ablation")),
                plan,
                MeshReader(detector),
                only,
                lambda text: click.echo(text, err=True),
            )
    except (BackboneError, CheckpointError, CorpusError, RecipeError, TrainingError) as error:
        click.echo(f"error: option_invalid: {error}", err=True)
        sys.exit(EXIT_REFUSED)
    click.echo(as_markdown(table))


if __name__ == "__main__":
    main()
