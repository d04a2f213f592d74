"""The whole table on tiny clips: what is compared, what is kept, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lipsync.__main__ import main
from model.errors import CheckpointError, CorpusError, RecipeError, TrainingError
from model.evaluation.ablation import COSTS, MEASURES, AblationSettings, ablate, as_markdown, read_rows
from model.evaluation.cases import Reading
from model.framing import Framing
from model.speech_encoder.whisper import NAME
from model.training.recipe import shipped_recipe
from tests.model.clips import write_corpus

TINY = """
[run]
objective = "generator"
steps = 2
learning_rate = 1e-3
device = "cpu"
precision = "fp32"
[network]
image_size = 96
width = 0.25
[batch]
runs = 0
singles = 2
[rows."full"]
[rows."no CBAM, with a critic".network]
use_cbam = false
[rows."no CBAM, with a critic".losses]
adversarial = 0.1
[rows."Wav2Lip".network]
architecture = "wav2lip"
speech_encoder = ""
[rows."Wav2Lip".losses]
mouth = 0.0
behind = 0.0
"""


def read_dark(crops: np.ndarray, framing: Framing) -> Reading:
    """Read how much of each crop is dark as aperture and width, and where the lips are from it."""
    dark = (crops < 90).all(axis=3).mean(axis=(1, 2)).astype(np.float32)
    lips = np.stack([np.stack([dark * k, dark * (k + 1)], axis=1) for k in range(40)], axis=1)
    return Reading(np.stack([dark, dark], axis=1), lips)


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.toml"
    path.write_text(TINY)
    return path


@pytest.mark.timeout(900)  # three networks are trained
def test_one_command_gives_one_table_and_keeps_what_is_finished(tmp_path: Path, rows_file: Path) -> None:
    corpus, logged = write_corpus(tmp_path / "c", frames=12), list[str]()
    settings = AblationSettings(corpus, tmp_path / "out", limit=1)
    recipes = read_rows(rows_file)
    first = ablate(recipes, settings, read_dark, only=["full"], log=logged.append)
    assert [row["name"] for row in first["rows"]] == ["full"]
    kept = (settings.out / "full" / "figures.json").stat().st_mtime_ns
    table = ablate(recipes, settings, read_dark, log=logged.append)
    assert (settings.out / "full" / "figures.json").stat().st_mtime_ns == kept
    assert json.loads((settings.out / "table.json").read_text()) == table
    by_name = {row["name"]: row for row in table["rows"]}
    assert set(by_name) == set(recipes)
    assert [row["psnr"] for row in table["rows"]] == sorted((row["psnr"] for row in table["rows"]), reverse=True)
    for row in by_name.values():
        assert {*MEASURES.values(), *COSTS.values()} <= set(row)
        assert (row["steps"], row["clips"], row["lpips"]) == (2, 1, None) and row["crops_per_s"] > 0
    assert by_name["Wav2Lip"]["gflop_per_crop"] > 3 * by_name["full"]["gflop_per_crop"]
    text = (settings.out / "table.md").read_text()
    assert text == as_markdown(table) and "LPIPS" not in text and "1 held-out" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    with Image.open(settings.out / "sheet.png") as sheet, Image.open(settings.out / "full" / "drawn.png") as strip:
        assert strip.size == (2 * 96, 96) and sheet.height == 4 * 96 and sheet.width > strip.width
        drawn = [np.asarray(sheet)[k * 96 : (k + 1) * 96, -2 * 96 :] for k in range(1, 4)]
        assert any(np.array_equal(row, np.asarray(strip)) for row in drawn)
    assert "row 3 of 3: Wav2Lip" in logged and "judging val_0" in logged
    rows_file.write_text(TINY.replace("1e-3", "2e-3"))
    with pytest.raises(TrainingError, match="made otherwise"):
        ablate(read_rows(rows_file), settings, read_dark)


def test_random_weights_of_lpips_are_named_in_the_table(rows_file: Path) -> None:
    row = {"name": "full", "clips": 3, **dict.fromkeys([*MEASURES.values(), *COSTS.values()], 0.5)}
    table = {"corpus": "c", "minutes": 2.0, "seed": 0, "lpips_backbone": "random", "rows": [row]}
    table |= {"hearing": "h", "mel_hearing": None}
    row["frechet_crops"] = 75
    text = as_markdown(table)
    assert "Backbone of LPIPS: random weights, asked for." in text and "Each row: 2 minutes of training" in text
    assert "Frechet distance of 75 drawn crops" in text
    assert re.search(r"\| row \| PSNR \| SSIM \| LPIPS \(random\) \| FED \(EfficientNet-Lite0\) \|", text)


@pytest.mark.parametrize(
    ("hearing", "mel_hearing", "sentence"),
    [
        (None, None, ""),
        ("h", None, "Hearing trained before: h in rows that hear features of a speech encoder; Wav2Lip uses none."),
        (None, "m", "Hearing trained before: m in rows that hear mels; Wav2Lip uses none."),
        (
            *("h", "m"),
            "Hearing trained before: h in rows that hear features of a speech encoder, m in rows that hear mels; "
            "Wav2Lip uses none.",
        ),
    ],
)
def test_the_table_says_which_rows_use_which_hearing(
    hearing: str | None, mel_hearing: str | None, sentence: str
) -> None:
    row = {"name": "full", "clips": 3, **dict.fromkeys([*MEASURES.values(), *COSTS.values()], 0.5)}
    row["frechet_crops"] = 75
    table = {"corpus": "c", "minutes": 2.0, "seed": 0, "lpips_backbone": None, "rows": [row]}
    text = as_markdown(table | {"hearing": hearing, "mel_hearing": mel_hearing})
    assert sentence in text and ("Hearing" in text) == bool(sentence)


def test_a_row_that_hears_mels_needs_a_hearing_of_mels_before_anything_is_trained(
    tmp_path: Path, rows_file: Path
) -> None:
    recipes = read_rows(rows_file)
    settings = AblationSettings(tmp_path, tmp_path / "out", hearing=tmp_path / "hearing.safetensors")
    words = "row 'no CBAM, with a critic' hears mels: give --mel-hearing, or leave the row out with --only"
    with pytest.raises(RecipeError, match=words):
        ablate(recipes, settings, read_dark, only=["no CBAM, with a critic", "Wav2Lip"])
    assert not settings.out.exists()
    with pytest.raises(CorpusError, match="none of them"):  # Wav2Lip hears mels too, with no hearing
        ablate(recipes, settings, read_dark, only=["Wav2Lip"])
    given = replace(settings, mel_hearing=tmp_path / "mels.safetensors")
    with pytest.raises(CorpusError, match="none of them"):
        ablate(recipes, given, read_dark, only=["full"])


def test_the_place_of_the_encoder_may_change(tmp_path: Path, rows_file: Path) -> None:
    rows_file.write_text(TINY.replace("width = 0.25", f'width = 0.25\nspeech_encoder = "{NAME}"', 1))
    recipes = {"full": read_rows(rows_file)["full"]}
    for name in ("one", "other"):
        settings = AblationSettings(tmp_path, tmp_path / "out", encoder=tmp_path / name)
        with pytest.raises(CheckpointError, match=f"no speech encoder in the folder {name}"):
            ablate(recipes, settings, read_dark)


def test_the_shipped_table_has_a_row_for_each_part() -> None:
    recipes = read_rows(shipped_recipe("ablation"))
    without = {f"no {part}" for part in ("CBAM", "FFC", "AdaIN", "LPIPS")}
    assert set(recipes) >= {"full", *without, "adversarial instead of LPIPS", "Wav2Lip"}
    full = recipes["full"]
    assert full.losses.lpips and not full.losses.adversarial
    instead = recipes["adversarial instead of LPIPS"]
    assert instead.losses.adversarial and not instead.losses.lpips and instead.network == full.network
    assert recipes["Wav2Lip"].network.architecture == "wav2lip" and recipes["Wav2Lip"].batch == full.batch


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (TINY[TINY.index('[rows."full"]') :], "", "names no rows"),
        ('[rows."full"]', '[rows]\n"full" = 3', 'rows."full" must hold parts'),
        ("use_cbam = false", "use_cbam = 1", 'rows."no CBAM, with a critic": network.use_cbam must be true or false'),
        ("use_cbam = false", "image_size = 128", "must share"),
        ('[rows."Wav2Lip".network]', '[rows."Wav2Lip".run]\nseed = 1\n[rows."Wav2Lip".network]', "must share"),
        ('[rows."full"]', '[rows."full"]\n[rows."Full!"]', "must differ in their letters"),
    ],
)
def test_tables_that_compare_nothing_are_refused(rows_file: Path, old: str, new: str, sentence: str) -> None:
    rows_file.write_text(TINY.replace(old, new))
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        read_rows(rows_file)


def test_a_row_may_learn_at_its_own_rate(rows_file: Path) -> None:
    rows_file.write_text(TINY + '[rows."Wav2Lip".run]\nlearning_rate = 1e-4\n')
    assert [recipe.run.learning_rate for recipe in read_rows(rows_file).values()] == [1e-3, 1e-3, 1e-4]


def test_an_unknown_row_is_refused(tmp_path: Path, rows_file: Path) -> None:
    with pytest.raises(RecipeError, match="there is no row 'empty' among full, no CBAM"):
        ablate(read_rows(rows_file), AblationSettings(tmp_path, tmp_path / "out"), read_dark, only=["empty"])


def test_the_command_reports_an_error_in_one_line(tmp_path: Path, rows_file: Path) -> None:
    rows_file.write_text(TINY[: TINY.index('[rows."full"]')])
    words = ["ablate", "--corpus", str(tmp_path), "--out", str(tmp_path / "out"), "--config", str(rows_file)]
    ended = CliRunner().invoke(main, words)
    assert ended.exit_code == 2 and ended.stderr.splitlines()[-1].startswith("error: option_invalid: rows.toml")
