"""A training process that is killed in the middle: the resumed run must follow the same curve."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from lipsync.__main__ import main
from model.training.recipe import read_recipe
from model.training.train import train
from tests.conftest import ROOT
from tests.model.clips import SIZE, write_corpus

RECIPE = f"""
[run]
objective = "generator"
steps = 30
learning_rate = 2e-3
warmup_steps = 4
save_every = 4
validate_every = 10
threads = 1
device = "cpu"
precision = "fp32"
[network]
image_size = {SIZE}
width = 0.25
[batch]
runs = 1
singles = 2
[losses]
mouth = 1.0
motion = 0.5
"""
TERMS = ("total", "l1", "mouth", "behind", "motion")


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "lipsync", "train", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.timeout(900)  # three runs
@pytest.mark.parametrize("saves", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_killed_process_is_resumed_with_the_same_curve(tmp_path: Path, saves: int) -> None:
    corpus, config, run = write_corpus(tmp_path / "corpus"), tmp_path / "r.toml", tmp_path / "run"
    config.write_text(RECIPE)
    arguments = ("--config", str(config), "--corpus", str(corpus), "--run", str(run))
    with _start(*arguments) as process:
        deadline = time.monotonic() + 400
        while not (run / "state.pt").is_file() or len(_rows(run)) < 4 * saves:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and not (run / "generator.safetensors.partial").exists()
    logged = len(_rows(run))
    assert logged < 30
    with _start(*arguments) as process:
        out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err.decode()
    assert out.decode().strip() == str(run / "generator.safetensors")
    train(read_recipe(config), corpus, tmp_path / "whole")
    whole, parts = _rows(tmp_path / "whole"), _rows(run)
    assert [row["step"] for row in parts] == [row["step"] for row in whole] == [str(n) for n in range(1, 31)]
    for name in TERMS:
        assert [float(row[name]) for row in parts] == pytest.approx([float(row[name]) for row in whole], abs=2e-5)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("gone", "there is no folder"),
        ("empty", "holds 0 clips"),
        ("arrays", "its arrays cannot be read"),
        ("meta", "its meta.json cannot be read"),
        ("one split", "none of them for 'val'"),
    ],
)
def test_a_folder_that_is_no_corpus_is_one_sentence(tmp_path: Path, damage: str, sentence: str) -> None:
    corpus, config = tmp_path / "corpus", tmp_path / "r.toml"
    config.write_text(RECIPE)
    if damage == "empty":
        corpus.mkdir()
    elif damage != "gone":
        write_corpus(corpus, val=0 if damage == "one split" else 1)
    for clip in corpus.glob("*") if damage == "arrays" else ():
        (clip / "crops.npy").write_bytes(b"\x93NUMPY half")
    for clip in corpus.glob("*") if damage == "meta" else ():
        (clip / "meta.json").write_text("{")
    arguments = ["train", "--config", str(config), "--corpus", str(corpus), "--run", str(tmp_path / "run")]
    ended = CliRunner().invoke(main, arguments)
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert ended.exit_code == 2 and len(lines) == 1
    assert lines[0].startswith("error: option_invalid: ") and sentence in lines[0]
