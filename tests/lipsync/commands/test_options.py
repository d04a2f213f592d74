from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.core.errors import InputError
from lipsync.__main__ import main
from lipsync.commands.evaluation import AblationChoice, EvaluationChoice, ablate, evaluate
from lipsync.commands.options import check_can_be_folder, write_json
from lipsync.commands.training import CorpusChoice, TrainChoice, corpus, train
from model.training.recipe import shipped_recipe


@pytest.mark.parametrize(
    ("command", "kind"),
    [(corpus, CorpusChoice), (evaluate, EvaluationChoice), (ablate, AblationChoice), (train, TrainChoice)],
)
def test_a_group_of_options_has_a_field_for_each(command: click.Command, kind: type) -> None:
    assert {option.name for option in command.params} == {field.name for field in fields(kind)}


def test_corpus_without_a_folder_is_a_usage_error() -> None:
    ended = CliRunner().invoke(corpus, [])
    assert ended.exit_code == 2 and "Missing option '--out'" in ended.stderr


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", ["train", "ablate"])
def test_the_speech_encoder_is_the_given_one_or_that_of_the_settings(name: str, given: bool, tmp_path: Path) -> None:
    tables = tomllib.loads(shipped_recipe("ablation").read_text())
    row = "" if name == "train" else '[rows."full"]\n'
    network = f'[network]\nspeech_encoder = "{tables["network"]["speech_encoder"]}"\n'
    config = tmp_path / "recipe.toml"
    config.write_text(f'[run]\nobjective = "generator"\nsteps = 1\nlearning_rate = 1e-3\n{network}{row}')
    words = [name, "--config", config, "--corpus", tmp_path, "--run" if name == "train" else "--out", tmp_path / "out"]
    words += ["--encoder", tmp_path / "given"] if given else []
    ended = CliRunner(env={"LIPSYNC_SPEECH_ENCODER": str(tmp_path / "setting")}).invoke(main, [*map(str, words)])
    assert f"no speech encoder in the folder {'given' if given else 'setting'}" in ended.stderr


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    check_can_be_folder(tmp_path / "new" / "deeper")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        check_can_be_folder(tmp_path / "file" / "deeper")


def test_figures_are_written_into_a_new_folder(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "figures.json", {"a": 1}, indent=1)
    assert (tmp_path / "new" / "figures.json").read_text() == '{\n "a": 1\n}\n'
