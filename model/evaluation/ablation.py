"""The ablations: variants of a recipe, trained on the same data for the same time and evaluated in one table.

Each row of the table is one variant, with the folder of its run. `asked.json` records what the row is made with, and
`figures.json` is written last. So the command can be stopped at any moment: a later call continues an unfinished row
and keeps the finished ones.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.arrays import U8
from model.errors import RecipeError, TrainingError
from model.evaluation.cases import ReadLips, prepared_cases
from model.evaluation.evaluate import OWN, STILLS, Measurement, evaluate
from model.evaluation.flops import gflop_per_crop
from model.evaluation.learned_metrics import LearnedMetrics, load_learned_metrics
from model.evaluation.tables import rows
from model.files import replacing
from model.synthesizer import load_synthesizer
from model.training.perceptual import backbone_name
from model.training.recipe import (
    LpipsPart,
    Recipe,
    RunPart,
    read_tables,
    recipe_of,
)
from model.training.run_log import LOG
from model.training.train import TrainingSources, train

Row = dict[str, Any]
MEASURES: Final = {  # heading: name of the measure in model/evaluation/evaluate.py
    "PSNR": "psnr",
    "SSIM": "ssim",
    "LPIPS": "lpips",
    "FED (EfficientNet-Lite0)": "fed",
    "aperture r": "aperture_r",
    "width r": "width_r",
    "lag": "aperture_lag_frames",
    "silent": "silent_aperture_ratio",
    "sharpness": "sharpness_ratio",
    "jitter": "jitter_ratio",
}
COSTS: Final = {"GFLOP/crop": "gflop_per_crop", "crops/s": "crops_per_s", "steps": "steps", "seconds": "seconds"}
_ASKED, _FIGURES, _FILMED, _DRAWN = "asked.json", "figures.json", "filmed.png", "drawn.png"
_NOT_ASKED = ("out", "encoder")  # where files lie; the encoder is known by its name in the recipe
_SHOWN_CLIPS, _SHOWN_STILLS = 6, (STILLS // 4, 3 * STILLS // 4)
_FONT_PX, _MARGIN_PX = 14, 8


@dataclass(frozen=True)
class AblationSettings:
    """Settings that all rows share.

    out: folder of the table and of all rows. minutes: of training for each row; None for the steps of the recipe.
    limit: most held-out clips to evaluate. expert, encoder: as for `train`. hearing: trained before, for the rows whose
    network hears a speech encoder. mel_hearing: the same for the rows whose network hears mels. The rows of Wav2Lip use
    no hearing, because that network has no input for it.
    """

    corpus: Path
    out: Path
    hearing: Path | None = None
    mel_hearing: Path | None = None
    expert: Path | None = None
    minutes: float | None = None
    limit: int = 24
    encoder: Path | None = None


def read_rows(path: Path) -> dict[str, Recipe]:
    """Read the recipe of each row of a table.

    The file is a recipe, and its part `rows` holds by name what differs in each row. Raises RecipeError.
    """
    tables = read_tables(path)
    changes = tables.pop("rows", None)
    if not isinstance(changes, dict) or not changes:
        raise RecipeError(f"{path.name}: it names no rows")
    recipes: dict[str, Recipe] = {}
    for name, parts in changes.items():
        if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
            raise RecipeError(f'{path.name}: rows."{name}" must hold parts of a recipe')
        merged = {part: {**tables.get(part, {}), **parts.get(part, {})} for part in {**tables, **parts}}
        try:
            recipes[name] = recipe_of(merged)
        except RecipeError as error:
            raise RecipeError(f'{path.name}: rows."{name}": {error}') from error
    if len({_shared(recipe) for recipe in recipes.values()}) > 1:
        raise RecipeError(
            f"{path.name}: rows must share [run] but for its learning_rate, [lpips] and network.image_size"
        )
    if len({_folder_name(name) for name in recipes} - {""}) < len(recipes):
        raise RecipeError(f"{path.name}: the names of rows must differ in their letters and digits")
    return recipes


def _shared(recipe: Recipe) -> tuple[RunPart, LpipsPart, int]:
    """Return what must be equal in all rows: everything of [run] but the learning rate, LPIPS, and the image size."""
    return replace(recipe.run, learning_rate=1.0), recipe.lpips, recipe.network.image_size


def ablate(
    recipes: Mapping[str, Recipe],
    settings: AblationSettings,
    read_lips: ReadLips,
    only: Collection[str] = (),
    log: Callable[[str], None] = lambda _: None,
) -> Row:
    """Train and evaluate the rows, then write table.json, table.md and sheet.png of all finished rows.

    only: names of rows; if there are any, the other rows are not trained. Returns the table. Raises RecipeError for an
    unknown row and for a row that lacks its hearing, TrainingError for a folder whose row was made with other settings,
    and the errors of `train`.
    """
    unknown = sorted(set(only) - set(recipes))
    if unknown:
        raise RecipeError(f"there is no row {unknown[0]!r} among {', '.join(recipes)}")
    backbone = next(iter(recipes.values())).lpips.backbone
    learned = load_learned_metrics(backbone or None)
    chosen = [name for name in recipes if not only or name in only]
    for name in chosen:
        _check_hearing(name, recipes[name], settings)
    for name in chosen:
        _begin(recipes[name], settings, settings.out / _folder_name(name))  # all refusals come before any training
    for number, name in enumerate(chosen, start=1):
        log(f"row {number} of {len(chosen)}: {name}")
        _finish(recipes[name], settings, settings.out / _folder_name(name), learned, read_lips, log)
    return _gather(recipes, settings, backbone)


def _uses_hearing(recipe: Recipe) -> bool:
    """Return whether the network of a recipe has an input for a hearing that was trained before."""
    return recipe.network.architecture != "wav2lip"


def _check_hearing(name: str, recipe: Recipe, settings: AblationSettings) -> None:
    """Raise RecipeError for a row that would have to learn to hear, while the others keep a trained hearing."""
    hears_mels = _uses_hearing(recipe) and not recipe.network.speech_encoder
    if hears_mels and settings.hearing is not None and settings.mel_hearing is None:
        raise RecipeError(f"row {name!r} hears mels: give --mel-hearing, or leave the row out with --only")


def _begin(recipe: Recipe, settings: AblationSettings, folder: Path) -> None:
    """Record what a row is made with. Raises TrainingError if the row was begun with something else."""
    shared = {name: _plain(value) for name, value in asdict(settings).items() if name not in _NOT_ASKED}
    asked = {"recipe": asdict(recipe), **shared}
    path = folder / _ASKED
    try:
        if path.is_file() and json.loads(path.read_text()) != asked:
            raise TrainingError(f"{folder} holds a row that was made otherwise; choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, json.dumps(asked, indent=1))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} cannot hold a row: {error}") from error


def _plain(value: Path | float | None) -> str | float | None:
    """Return a setting as a JSON value."""
    return str(value.resolve()) if isinstance(value, Path) else value


def _finish(
    recipe: Recipe,
    settings: AblationSettings,
    folder: Path,
    learned: LearnedMetrics,
    read_lips: ReadLips,
    log: Callable[[str], None],
) -> None:
    """Train a row to its end, evaluate it and write its figures; a row that has figures is left as it is."""
    if (folder / _FIGURES).is_file():
        return
    hearing = settings.hearing if recipe.network.speech_encoder else settings.mel_hearing
    sources = TrainingSources(settings.expert, hearing if _uses_hearing(recipe) else None, settings.encoder)
    checkpoint = train(recipe, settings.corpus, folder, sources, minutes=settings.minutes, log=log)
    synthesizer = load_synthesizer(checkpoint, recipe.run.device, recipe.run.precision, encoder_folder=settings.encoder)
    cases = prepared_cases(settings.corpus, synthesizer, read_lips, settings.limit)
    measurements = evaluate(cases, learned, lambda name: log(f"judging {name}"))
    own = next(row for row in rows(measurements, learned) if row["name"] == OWN)
    for name, strip in zip((_FILMED, _DRAWN), _strips(measurements), strict=True):
        Image.fromarray(strip).save(folder / name)
    figures = {
        "device": synthesizer.device_name,
        "clips": own["clips"],
        **{measure: own[measure] for measure in (*MEASURES.values(), "frechet_crops")},
        "gflop_per_crop": round(gflop_per_crop(checkpoint), 3),
        **_speed(folder / LOG),
    }
    _write(folder / _FIGURES, json.dumps(figures, indent=1))


def _speed(run_log: Path) -> Row:
    """Return the median speed of a run, its steps and its seconds."""
    with run_log.open(newline="") as file:
        steps = list(csv.DictReader(file))
    speed = statistics.median(float(step["crops_per_s"]) for step in steps)
    return {"crops_per_s": round(speed, 1), "steps": int(steps[-1]["step"]), "seconds": float(steps[-1]["elapsed_s"])}


def _strips(measurements: Sequence[Measurement]) -> tuple[U8, U8]:
    """Return frames of a few clips side by side, uint8 RGB: as filmed, and as drawn with their own voice."""
    own = [one for one in measurements if one.row == OWN]
    shown = [own[k] for k in sorted(set(np.linspace(0, len(own) - 1, _SHOWN_CLIPS).round().astype(int).tolist()))]
    size = shown[0].stills.shape[0] // 2
    columns = [one.stills[:, k * size : (k + 1) * size] for one in shown for k in _SHOWN_STILLS]
    joined = np.concatenate(columns, axis=1)
    return joined[:size], joined[size:]


def _gather(recipes: Mapping[str, Recipe], settings: AblationSettings, backbone: str) -> Row:
    """Write table and sheet of the finished rows, the one with the best PSNR first; return the table."""
    folders = {name: settings.out / _folder_name(name) for name in recipes}
    finished = [
        {"name": name, **json.loads((folder / _FIGURES).read_text())}
        for name, folder in folders.items()
        if (folder / _FIGURES).is_file()
    ]
    finished.sort(key=lambda row: -(row["psnr"] or 0.0))
    table = {
        "corpus": settings.corpus.name,
        "minutes": settings.minutes,
        "seed": next(iter(recipes.values())).run.seed,
        "lpips_backbone": backbone_name(backbone) if backbone else None,
        "hearing": settings.hearing.name if settings.hearing else None,
        "mel_hearing": settings.mel_hearing.name if settings.mel_hearing else None,
        "rows": finished,
    }
    _write(settings.out / "table.json", json.dumps(table, indent=1))
    _write(settings.out / "table.md", as_markdown(table))
    strips = {"filmed": folders[finished[0]["name"]] / _FILMED}
    strips |= {row["name"]: folders[row["name"]] / _DRAWN for row in finished}
    _sheet(strips).save(settings.out / "sheet.png")
    return table


def as_markdown(table: Mapping[str, Any]) -> str:
    """Return the table as Markdown, with a paragraph on how it was made; measures without any value are left out."""
    finished = table["rows"]
    backbone = table["lpips_backbone"]
    heads = {f"LPIPS ({backbone})" if head == "LPIPS" else head: name for head, name in {**MEASURES, **COSTS}.items()}
    shown = {head: name for head, name in heads.items() if any(row[name] is not None for row in finished)}
    budget = f"{table['minutes']:g} minutes" if table["minutes"] else "the recipe's steps"
    facts = [f"Each row: {budget} of training on {table['corpus']}, seed {table['seed']}."]
    kinds = {"hearing": "features of a speech encoder", "mel_hearing": "mels"}
    if uses := [f"{table[name]} in rows that hear {sound}" for name, sound in kinds.items() if table[name]]:
        facts.append(f"Hearing trained before: {', '.join(uses)}; Wav2Lip uses none.")
    if backbone:
        facts.append(f"Backbone of LPIPS: {'random weights, asked for' if backbone == 'random' else backbone}.")
    facts.append(f"Evaluated on {max(row['clips'] for row in finished)} held-out clips with their own voice.")
    if crops := max(row["frechet_crops"] or 0 for row in finished):
        facts.append(f"FED is the Frechet distance of {crops} drawn crops; it shrinks as the number grows.")
    lines = [["row", *shown], ["---"] + ["---:"] * len(shown)]
    lines += [[row["name"], *(_text(row[name]) for name in shown.values())] for row in finished]
    return "\n".join([" ".join(facts), "", *(f"| {' | '.join(line)} |" for line in lines), ""])


def _text(value: float | None) -> str:
    """Return a figure as text."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _sheet(strips: Mapping[str, Path]) -> Image.Image:
    """Return a picture of strips below each other, each with its name to its left."""
    font = ImageFont.load_default(_FONT_PX)
    pictures = {}
    for name, path in strips.items():
        with Image.open(path) as file:
            pictures[name] = file.convert("RGB")
    left = round(max(font.getlength(name) for name in pictures)) + 2 * _MARGIN_PX
    width, height = next(iter(pictures.values())).size
    sheet = Image.new("RGB", (left + width, height * len(pictures)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, picture) in enumerate(pictures.items()):
        sheet.paste(picture, (left, number * height))
        draw.text((_MARGIN_PX, (number + 0.5) * height), name, "black", font, anchor="lm")
    return sheet


def _folder_name(name: str) -> str:
    """Return the name of a row's folder: its letters and digits, with - for everything between."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _write(path: Path, text: str) -> None:
    """Replace a text file."""
    with replacing(path) as partial:
        partial.write_text(text)
