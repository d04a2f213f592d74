"""The ablations: every row trained on the same data with the same budget, judged by the same eyes, in one table.

A row is the folder of its run. `asked.json` says what it was made with, `figures.json` is written last: the command can
be stopped at any moment, goes on where it was, and keeps what is finished.
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
from model.evaluation.evaluate import OWN, STILLS, Take, evaluate
from model.evaluation.flops import gflop_per_crop
from model.evaluation.learned_metrics import Judges, load_judges
from model.evaluation.tables import rows
from model.synthesizer import load_synthesizer
from model.training.recipe import (
    LpipsPart,
    Recipe,
    RunPart,
    read_tables,
    recipe_of,
)
from model.training.run_log import LOG
from model.training.train import Pretrained, train

Row = dict[str, Any]
MEASURES: Final = {  # heading: what model/evaluation/evaluate.py calls it
    "PSNR": "psnr",
    "SSIM": "ssim",
    "LPIPS": "lpips",
    "aperture r": "aperture_r",
    "width r": "width_r",
    "lag": "aperture_lag_frames",
    "silent": "silent_aperture_ratio",
    "sharpness": "sharpness_ratio",
    "jitter": "jitter_ratio",
}
COSTS: Final = {"GFLOP/crop": "gflop_per_crop", "crops/s": "crops_per_s", "steps": "steps", "seconds": "seconds"}
_ASKED, _FIGURES, _FILMED, _DRAWN = "asked.json", "figures.json", "filmed.png", "drawn.png"
_SHOWN_CLIPS, _SHOWN_STILLS = 6, (STILLS // 4, 3 * STILLS // 4)
_FONT_PX, _MARGIN_PX = 14, 8


@dataclass(frozen=True)
class Plan:
    """What all rows have in common.

    minutes: of training, a row (None: the recipe's steps). limit: judge so many held-out clips. hearing, expert: as
    for `train`; Wav2Lip, which has no place for a hearing, is given none.
    """

    corpus: Path
    out: Path
    hearing: Path | None = None
    expert: Path | None = None
    minutes: float | None = None
    limit: int = 24


def read_rows(path: Path) -> dict[str, Recipe]:
    """Read the rows of a table: a recipe, and under `rows` by name what differs from it. Raises RecipeError."""
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
    """Return what makes rows comparable: budget, seed, eyes and size; each may learn at the rate that suits it."""
    return replace(recipe.run, learning_rate=1.0), recipe.lpips, recipe.network.image_size


def ablate(
    recipes: Mapping[str, Recipe],
    plan: Plan,
    read_lips: ReadLips,
    only: Collection[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Row:
    """Train and judge the rows (only those named, if any); write table.json, table.md and sheet.png of all finished.

    Returns the table. Raises what `train` does, and TrainingError for a folder whose row was made otherwise.
    """
    unknown = sorted(set(only) - set(recipes))
    if unknown:
        raise RecipeError(f"there is no row {unknown[0]!r} among {', '.join(recipes)}")
    backbone = next(iter(recipes.values())).lpips.backbone
    judges = load_judges(backbone or None)
    chosen = [name for name in recipes if not only or name in only]
    for name in chosen:
        _begin(recipes[name], plan, plan.out / _folder_name(name))  # before any time is spent
    for number, name in enumerate(chosen, start=1):
        tell(f"row {number} of {len(chosen)}: {name}")
        _finish(recipes[name], plan, plan.out / _folder_name(name), judges, read_lips, tell)
    return _gather(recipes, plan, backbone)


def _begin(recipe: Recipe, plan: Plan, folder: Path) -> None:
    """Note what a row is made with. Raises TrainingError where it was begun with something else."""
    asked = {"recipe": asdict(recipe), **{name: _plain(value) for name, value in asdict(plan).items() if name != "out"}}
    path = folder / _ASKED
    try:
        if path.is_file() and json.loads(path.read_text()) != asked:
            raise TrainingError(f"{folder} holds a row that was made otherwise; choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, json.dumps(asked, indent=1))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} cannot hold a row: {error}") from error


def _plain(value: Any) -> Any:
    return str(value.resolve()) if isinstance(value, Path) else value


def _finish(
    recipe: Recipe, plan: Plan, folder: Path, judges: Judges, read_lips: ReadLips, tell: Callable[[str], None]
) -> None:
    """Train a row as far as it is not, judge it, and write its figures; one that has them is left as it is."""
    if (folder / _FIGURES).is_file():
        return
    hearing = None if recipe.network.architecture == "wav2lip" else plan.hearing
    pretrained = Pretrained(plan.expert, hearing)
    checkpoint = train(recipe, plan.corpus, folder, pretrained, minutes=plan.minutes, log=tell)
    synthesizer = load_synthesizer(checkpoint, recipe.run.device, recipe.run.precision)
    cases = prepared_cases(plan.corpus, synthesizer, read_lips, plan.limit)
    takes = evaluate(cases, judges, lambda name: tell(f"judging {name}"))
    own = next(row for row in rows(takes, judges) if row["name"] == OWN)
    for name, strip in zip((_FILMED, _DRAWN), _strips(takes), strict=True):
        Image.fromarray(strip).save(folder / name)
    figures = {
        "device": synthesizer.device_name,
        "clips": own["clips"],
        **{measure: own[measure] for measure in MEASURES.values()},
        "gflop_per_crop": round(gflop_per_crop(checkpoint), 3),
        **_pace(folder / LOG),
    }
    _write(folder / _FIGURES, json.dumps(figures, indent=1))


def _pace(log: Path) -> Row:
    """Return how fast and how far a run went: the median of its speed, its steps and its seconds."""
    with log.open(newline="") as file:
        steps = list(csv.DictReader(file))
    speed = statistics.median(float(step["crops_per_s"]) for step in steps)
    return {"crops_per_s": round(speed, 1), "steps": int(steps[-1]["step"]), "seconds": float(steps[-1]["elapsed_s"])}


def _strips(takes: Sequence[Take]) -> tuple[U8, U8]:
    """Return moments of a few clips side by side, as filmed and as drawn with their own voice."""
    own = [take for take in takes if take.row == OWN]
    shown = [own[k] for k in sorted(set(np.linspace(0, len(own) - 1, _SHOWN_CLIPS).round().astype(int).tolist()))]
    size = shown[0].stills.shape[0] // 2
    columns = [take.stills[:, k * size : (k + 1) * size] for take in shown for k in _SHOWN_STILLS]
    joined = np.concatenate(columns, axis=1)
    return joined[:size], joined[size:]


def _gather(recipes: Mapping[str, Recipe], plan: Plan, backbone: str) -> Row:
    """Write table and sheet of the rows that are finished, the best PSNR first."""
    folders = {name: plan.out / _folder_name(name) for name in recipes}
    finished = [
        {"name": name, **json.loads((folder / _FIGURES).read_text())}
        for name, folder in folders.items()
        if (folder / _FIGURES).is_file()
    ]
    finished.sort(key=lambda row: -(row["psnr"] or 0.0))
    table = {
        "corpus": plan.corpus.name,
        "minutes": plan.minutes,
        "seed": next(iter(recipes.values())).run.seed,
        "lpips_backbone": Path(backbone).name if backbone else None,
        "hearing": plan.hearing.name if plan.hearing else None,
        "rows": finished,
    }
    _write(plan.out / "table.json", json.dumps(table, indent=1))
    _write(plan.out / "table.md", as_markdown(table))
    strips = {"filmed": folders[finished[0]["name"]] / _FILMED}
    strips |= {row["name"]: folders[row["name"]] / _DRAWN for row in finished}
    _sheet(strips).save(plan.out / "sheet.png")
    return table


def as_markdown(table: Mapping[str, Any]) -> str:
    """Return the table with a sentence on how it was made, leaving out what nobody measured."""
    finished = table["rows"]
    shown = {
        head: name for head, name in {**MEASURES, **COSTS}.items() if any(row[name] is not None for row in finished)
    }
    budget = f"{table['minutes']:g} minutes" if table["minutes"] else "the recipe's steps"
    facts = [f"Each row: {budget} of training on {table['corpus']}, seed {table['seed']}."]
    if table["hearing"]:
        facts.append(f"All but Wav2Lip were given {table['hearing']}, learned before.")
    if table["lpips_backbone"]:
        of = {"random": "random weights, asked for"}.get(table["lpips_backbone"], table["lpips_backbone"])
        facts.append(f"Backbone of LPIPS: {of}.")
    facts.append(f"Judged on {max(row['clips'] for row in finished)} held-out clips with their own voice.")
    lines = [["row", *shown], ["---"] + ["---:"] * len(shown)]
    lines += [[row["name"], *(_text(row[name]) for name in shown.values())] for row in finished]
    return "\n".join([" ".join(facts), "", *(f"| {' | '.join(line)} |" for line in lines), ""])


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _sheet(strips: Mapping[str, Path]) -> Image.Image:
    """Stack strips of the same frames, each with its name to its left."""
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
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _write(path: Path, text: str) -> None:
    """Write a text; whoever reads finds the old one or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
